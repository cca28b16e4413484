"""`nas doctor`: what this machine is, and whether it trains."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nas.cli.options import AsJson, print_json


def doctor(
    seconds: Annotated[
        float, typer.Option(min=0.0, max=600.0, help="How long to train on each device, with CUDA graphs and without.")
    ] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Say what this machine is, train a small network on each of its devices, and compare them with the CPU.

    Exit code 1 where a device does not train or computes something else. Send the output with a report of a fault.
    """
    from nas.app.doctor import examine

    document = examine(seconds)
    if as_json:
        print_json(document)
    else:
        print(_text(document))
    if document["problems"]:
        raise typer.Exit(1)


def _text(document: dict[str, Any]) -> str:
    shared, cache, cuda = document["shared_memory"], document["cache"], document["cuda"]
    rows = [
        ("versions", ", ".join(f"{name} {version}" for name, version in document["versions"].items())),
        ("system", document["system"]),
        ("CPU", f"{document['cpu']}, {document['cores']} cores"),
        ("CPU kernels", document["cpu_kernels"]),
        ("CUDA", f"torch is built for {cuda['built_for']}" if cuda["built_for"] else "torch is built without it"),
        ("shared memory", f"{_gigabytes(shared['free'])} of {_gigabytes(shared['total'])} free" if shared else "none"),
        ("cache folder", f"{cache['folder']}, {_gigabytes(cache['free'])} free" if cache["folder"] else "none"),
        *((name, value) for name, value in document["environment"].items()),
        *((device["device"], _device_text(device)) for device in document["devices"]),
        *(("PROBLEM", text) for text in document["problems"]),
        *(("advice", text) for text in document["advice"]),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {text}" for name, text in rows]
    return "\n".join(
        [*lines, "", "With a report of a fault send: this (nas doctor --json), the command, and all that it printed."]
    )


def _device_text(device: dict[str, Any]) -> str:
    parts = [device["name"]]
    if "bytes" in device:
        parts.append(f"{_gigabytes(device['bytes'])}, compute capability {device['capability']}")
    if (rate := device.get("images_per_second")) is not None:
        parts.append(f"{rate:,} images/s")
    if (slow := device.get("images_per_second_without_graphs")) is not None:
        parts.append(f"{slow:,} without CUDA graphs")
    if device.get("capture") == "works":
        parts.append("capture works")
    if (difference := device.get("difference_from_cpu")) is not None and device["device"] != "cpu":
        parts.append(f"steps within {difference:.1g} of the CPU's")
    return ", ".join(parts)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def add_to(app: typer.Typer) -> None:
    """Add the command, which stands at the top level."""
    app.command("doctor")(doctor)
