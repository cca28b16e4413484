"""`nas arch`, `nas export` and `nas verify`: single networks."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.arch import ArchitectureFile, digest_of, explain_outlines, lower, outline, read_architecture
from nas.cli.options import (
    DEFAULT_STUDIES,
    AsJson,
    DataDir,
    Device,
    Prefix,
    Studies,
    TrialNumber,
    complete_dataset,
    complete_study_or_module,
    print_json,
)
from nas.costs import costs_of, layer_rows, layer_table, sketch
from nas.errors import UsageError
from nas.study.folder import study_names

NOT_SOURCES = (".pt", ".onnx", ".pt2", ".h")  # exported files that nothing else is exported from

arch = typer.Typer(no_args_is_help=True, help="Look at a network described in a file, and train it.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="An architecture file (TOML); see studies/reference/.")]


@arch.command("show")
def show(file: File, as_json: AsJson = False) -> None:
    """Show the layer table of a network, its exact counts, and a picture in text."""
    described = _read(file)
    layers = lower(described.architecture)
    if as_json:
        print_json(
            {
                "name": described.name,
                "digest": digest_of(layers),
                **costs_of(layers).counts(),
                "layers": layer_rows(layers),
            }
        )
        return
    line = outline(described.architecture)
    print(f"{described.name}  (digest {digest_of(layers)})\n{line}\n({explain_outlines([line])})\n")
    print(layer_table(layers))
    from nas.model.thop_count import CONVENTION, count_layers_with_thop  # brings torch, which JSON can spare

    thop = count_layers_with_thop(layers, described.input)
    print(f"\nthop counts {thop.thop_macs:,} MACs, {thop.thop_params:,} parameters: {CONVENTION}")
    print()
    print(sketch(layers))


@arch.command("train")
def train(
    file: File,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            help="Data set, or a folder of images. Default: the file's, else mnist.",
            autocompletion=complete_dataset,
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: the recipe's.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Seed of the weights, the order of the images and the split.")
    ] = 0,
    test: Annotated[
        bool,
        typer.Option(
            "--test",
            help="Train on the whole training set and read the test set after each epoch, as a confirmation does.",
        ),
    ] = False,
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=4, help="Pixels; folders of images only.")
    ] = None,
    color: Annotated[bool | None, typer.Option("--color/--gray", help="Folders of images only.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the trained network; its name says the format: .py (a module, weights beside it in .pt), "
            ".onnx, .pt2 (torch.export), .h (C99), or one in 8 bits: .int8.h, .int8.onnx, .int8.pt, or a folder of "
            "firmware.",
        ),
    ] = None,
    prefix: Prefix = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Train one described network by its recipe, without any search.

    The accuracy shown is that of the validation images, a sixth of the training set, unless --test is given.
    """
    described = _read(file)
    from nas.app.train_network import TrainingRequest, train_described
    from nas.terminal.training_progress import show_epochs

    request = TrainingRequest(
        dataset=dataset or described.dataset or "mnist",
        epochs=epochs,
        seed=seed,
        test=test,
        image_size=image_size,
        color=color,
        output=output,
        prefix=prefix,
        data_dir=data_dir,
        device=device,
    )
    with show_epochs("test" if test else "validation") as on_epoch:
        result = train_described(described, request, on_epoch, _say)
    if as_json:
        print_json(result)
    else:
        print(_training_text(described, result))
        if output is not None:
            if "num_bytes" in result:
                print(_int8_text(result))
            print(f"wrote {output}; it takes {result['input']}")


def _read(file: Path) -> ArchitectureFile:
    """Return an architecture file; say what to do with an exported one."""
    if file.suffix in (".py", *NOT_SOURCES):
        raise UsageError(f"{file} is no architecture file (TOML); see what an export holds with: nas verify {file}")
    return read_architecture(file)


def _say(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)


def _training_text(described: ArchitectureFile, result: dict[str, Any]) -> str:
    from nas.study.records import last_epochs_text

    where = "test" if result["trained_on"] == "train" else "validation"
    curve = result[f"{where}_accuracy"]
    return (
        f"{described.name}: {result['num_params']:,} parameters ({result['deployed_params']:,} deployed), {where} "
        f"accuracy {result['figure']:.2f} % (mean of {last_epochs_text(len(curve))}), best epoch {max(curve):.2f} %, "
        f"{result['images_per_second']:,} images a second"
    )


def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name of the study; or a module that was exported (net.py), its weights beside it.",
            autocompletion=complete_study_or_module,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The file to write; its name says the format: .py (a module, weights beside it in .pt), .onnx, .pt2 "
            "(torch.export), .h (C99), .int8.h, .int8.onnx and .int8.pt (8 bits). A folder, such as firmware/, gets a "
            "program for microcontrollers: the header in 8 bits, a test image, a Makefile and a README.",
        ),
    ],
    trial: TrialNumber = None,
    prefix: Prefix = None,
    studies: Studies = DEFAULT_STUDIES,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Of a module, for 8 bits: where the images are now that it was measured on, a folder or an .npz file. "
            "Default: what it calls them.",
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write a trained network to take away: a plain Python module that needs nothing but torch, or another format.

    The network is that of a study, or that of such a module, which is read and not run. Every format but .py takes
    pixels 0 to 255 as they are; each says what it takes, and names the classes in the order of the logits.
    """
    from nas.terminal.waiting import show_waiting

    claims: dict[str, Any] = {}
    is_module = name.endswith(".py") and name not in study_names(studies)
    if name.endswith(NOT_SOURCES) and Path(name).is_file():
        raise UsageError(f"{name} is not exported from; give its study, or the module (.py) of the same network")
    if is_module and trial is not None:
        raise UsageError(f"`trial` {trial} is for studies, and {name} is a module with one network; leave it out")
    if not is_module and data is not None:
        raise UsageError(f"`data` {data} is for modules; say by `data_dir` where the images of a study are now")
    with show_waiting() as report:
        if is_module:
            from nas.app.export_module import export_module

            claims |= export_module(Path(name), output, data_dir, data, prefix, report)
        else:
            from nas.app.export import export as write
            from nas.app.look import find_trial, open_folder

            folder = open_folder(studies, name)
            record = find_trial(folder, trial)
            claims |= {"trial": record.number, **write(folder, record, output, data_dir, prefix, report)}
    written = {"module": str(output)}
    if output.suffix == ".py":
        written["weights"] = str(output.with_suffix(".pt"))
    if as_json:
        print_json(written | claims)
        return
    what = f"trial {claims['trial']}" if "trial" in claims else claims.get("name", name)
    deployed = f" ({claims['deployed_params']:,} deployed)" if "deployed_params" in claims else ""
    print(f"wrote {' and '.join(written.values())}: {what}, {claims['num_params']:,} parameters{deployed}")
    if "num_bytes" in claims:
        print(_int8_text(claims))
    print(f"it takes {claims['input']}")
    print(f"check it with: nas verify {output}", file=sys.stderr)


def _int8_text(claims: dict[str, Any]) -> str:
    (claim,) = (key for key in claims if key.startswith("float_weights_"))
    name = claim.removeprefix("float_")
    kind = name.split("_")[1]
    return (
        f"{claims['num_bytes']:,} bytes in 8 bits, {claims['float_bytes']:,} in float32; {kind} accuracy of these "
        f"weights {claims[name]:.2f} % in 8 bits, {claims[claim]:.2f} % in float32"
    )


def verify(
    module: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="An exported file, or a folder of firmware. A .py is run and a .h compiled and run, in a process of "
            "its own: trust them first.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Where the images are now that it was measured on: a folder or an .npz file. Default: what the file "
            "calls them.",
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Derive the claims of an exported file again: counts, digest, and the test accuracy of its weights.

    Exit code 1 where a claim does not hold. What only new trainings could show (the mean over seeds) is not derived.
    """
    from nas.terminal.waiting import show_waiting

    if (module.suffix in (".py", ".h") and module.is_file()) or module.is_dir():
        how = "as Python" if module.suffix == ".py" else "compiled"
        print(f"{module} is run {how}, in a process of its own in an empty folder, with your rights", file=sys.stderr)
    with show_waiting() as report:
        from nas.app.verify import verify as derive
        from nas.model.thop_count import CONVENTION

        checks, thop = derive(module, data_dir, data, report)
    holds = all(check.holds for check in checks)
    if as_json:
        counts = thop._asdict() if thop else {}
        print_json({"module": str(module), "holds": holds, "checks": [asdict(check) for check in checks], **counts})
    else:
        for check in checks:
            verdict = "holds" if check.holds else "DOES NOT HOLD"
            print(f"{check.claim:<24} claimed {check.claimed!s:<18} derived {check.derived!s:<18} {verdict}")
        if all(check.claim != "weights_test_accuracy" for check in checks):
            print("weights_test_accuracy    not claimed: the network was not confirmed")
        if thop:
            print(f"thop counts {thop.thop_macs:,} MACs, {thop.thop_params:,} parameters: {CONVENTION}")
    if not holds:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Add the commands that stand at the top level."""
    app.command("export")(export)
    app.command("verify")(verify)
