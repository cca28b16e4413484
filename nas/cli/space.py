"""`nas space`: look at search spaces and draw from them. Needs no torch."""

from __future__ import annotations

import itertools
import math
import sys
from typing import Annotated, Any

import typer

from nas.arch import Input, explain_outlines, outline
from nas.cli.options import (
    AsJson,
    Board,
    Counted,
    MaxActivationBytes,
    MaxFlash,
    MaxMacs,
    MaxRam,
    complete_known_dataset,
    complete_space,
    parse_count,
    print_json,
)
from nas.costs import Budget
from nas.costs.boards import limits_of
from nas.data.known import KNOWN_DATASETS
from nas.errors import DataError, near_misses
from nas.space import (
    SHIPPED,
    Candidate,
    Space,
    domain_text,
    draw_networks,
    least_network,
    load_space,
    most_network,
    require_reachable,
)

app = typer.Typer(no_args_is_help=True, help="Look at search spaces and draw networks from them.")

SpaceName = Annotated[
    str,
    typer.Argument(
        metavar="SPACE",
        help="A shipped space (see: nas space list) or the path of a .toml file.",
        autocompletion=complete_space,
    ),
]
Dataset = Annotated[
    str,
    typer.Option(
        "--dataset",
        help="Data set whose image shape and classes the networks are for.",
        autocompletion=complete_known_dataset,
    ),
]


def _load(name: str, dataset: str) -> Space:
    if dataset not in KNOWN_DATASETS:
        raise DataError(f"--dataset {dataset}: unknown data set; {near_misses(dataset, KNOWN_DATASETS)}")
    images: tuple[Input, int] = KNOWN_DATASETS[dataset].images
    return load_space(name, *images)


def _default_dataset(name: str) -> str:
    return "digits" if name == "tiny_digits" else "mnist"


@app.command("list")
def list_spaces(as_json: AsJson = False) -> None:
    """The spaces that come with nas."""
    spaces = [_load(path.stem, _default_dataset(path.stem)) for path in sorted(SHIPPED.glob("*.toml"))]
    if as_json:
        print_json([{"name": s.name, "summary": s.summary} for s in spaces])
        return
    for space in spaces:
        print(f"{space.name:<16} {space.summary}")


@app.command("show")
def show(name: SpaceName, dataset: Dataset = "mnist", as_json: AsJson = False) -> None:
    """The genes of a space with their priors, how large it is, and the least and most parameters that it can have."""
    space = _load(name, dataset)
    least, most = least_network(space), most_network(space)
    finite = [d.size for n, d in space.genes.items() if math.isfinite(d.size) and not n.startswith("recipe.")]
    log10_size = sum(math.log10(size) for size in finite)
    if as_json:
        print_json(
            {
                "name": space.name,
                "summary": space.summary,
                "dataset": dataset,
                "digest": space.digest,
                "log10_size": round(log10_size, 2),
                "least": _ends(least),
                "most": _ends(most),
                "genes": {gene: domain_text(domain) for gene, domain in space.genes.items()},
                "priors": {gene: prior.text for gene, prior in space.priors.items()},
            }
        )
        return
    print(f"{space.name}: {space.summary}\n")
    for gene, domain in space.genes.items():
        prior = space.priors.get(gene)
        likely = f"  ({prior.text})" if prior else ""
        print(f"  {gene:<28} {domain_text(domain)}{likely}")
    print(
        f"\n{len(space.genes)} genes; about 10^{log10_size:.0f} ways to choose an architecture (some build the same "
        f"network)\nfor {dataset}: {least.costs.num_params:,} to {most.costs.num_params:,} parameters\n"
        f"draw from it with: nas space sample {name} -n 5 --max-params 8000"
    )


def _ends(found: Candidate) -> dict[str, Any]:
    return {
        "num_params": found.costs.num_params,
        "deployed_params": found.costs.deployed_params,
        "digest": found.digest,
        "genes": found.genes,
    }


@app.command("sample")
def sample(
    name: SpaceName,
    count: Annotated[int, typer.Option("-n", min=1, max=1_000_000, help="How many networks.")] = 5,
    max_params: Annotated[
        int, typer.Option("--max-params", parser=parse_count, metavar="COUNT", help="The hard budget.")
    ] = 8000,
    counted: Counted = None,
    max_macs: MaxMacs = None,
    max_activation_bytes: MaxActivationBytes = None,
    max_flash: MaxFlash = None,
    max_ram: MaxRam = None,
    board: Board = None,
    dataset: Dataset = "mnist",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Draws networks from the prior: they never exceed the budget, of sizes spread over all that it allows."""
    space = _load(name, dataset)
    limits = limits_of(board, max_flash, max_ram)
    budget = Budget(
        max_params, max_macs, max_activation_bytes, limits["max_flash"], limits["max_ram"], counted or "trained"
    )
    require_reachable(space, budget)
    found = [draw.candidate for draw in itertools.islice(draw_networks(space, budget, seed), count)]
    if as_json:
        print_json(
            [{**c.costs.counts(), **c.costs.device_bytes(), "digest": c.digest, "genes": c.genes} for c in found]
        )
        return
    print(f"{'parameters':>10}  {'deployed':>8}  {'MACs':>11}  {'flash':>9}  {'RAM':>9}  {'digest':<16}  network")
    for c in found:
        costs = c.costs
        counts = f"{costs.num_params:>10,}  {costs.deployed_params:>8,}  {costs.num_macs:>11,}"
        in_8_bits = f"{costs.flash_bytes:>9,}  {costs.ram_bytes:>9,}"
        print(f"{counts}  {in_8_bits}  {c.digest:<16}  {outline(c.architecture)}")
    print(explain_outlines(outline(c.architecture) for c in found), file=sys.stderr)
    print("flash and RAM: at most so many bytes of a microcontroller, in 8 bits", file=sys.stderr)
