"""Warm starts: known networks, such as those of an earlier study, as the first trials of a new one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nas.arch import Architecture, Recipe, digest_of, lower, read_architecture
from nas.costs import Budget, costs_of
from nas.errors import SpaceError, StudyError, UsageError
from nas.space import Genes, Space, Value, genes_of, recipe_of
from nas.storage.address import Storage
from nas.storage.enqueued_trials import enqueue_trials
from nas.storage.study_store import read_records
from nas.study.folder import find_study
from nas.study.front import front_records
from nas.study.kept import kept_space, known_candidate
from nas.study.landmarks import REFERENCES
from nas.study.networks import kept_network
from nas.study.recipe import trial_recipe
from nas.study.settings import StudySettings

REFERENCE = "reference"  # the name of the published networks
MOST_ERRORS = 2.0  # times those that the target allows: a network that made more in an earlier study is left out


class _Known(NamedTuple):
    """A network that is known, and how it was trained."""

    origin: str
    architecture: Architecture
    recipe: Recipe
    accuracy: float | None = None  # percent, in an earlier study of the same data


@dataclass(frozen=True)
class WarmStart:
    """The networks that a study begins with, and those that it cannot."""

    networks: dict[str, Genes]  # by origin, in the order in which they are tried
    left_out: dict[str, str]  # why, by origin

    def lines(self) -> Iterator[str]:
        """Yield what a person is told of it."""
        yield from (f"warm start: {origin} is left out: {reason}" for origin, reason in self.left_out.items())
        if self.networks:
            yield f"warm start: the first trials are {', '.join(self.networks)}"
        else:
            yield "warning: nothing of the warm start fits this space and budget; the search begins without it"

    def enqueue(self, storage: Storage, name: str) -> None:
        """Make the networks the first trials of study `name`, before it is opened for the first time."""
        enqueue_trials(storage, name, self.networks)


def warm_start(settings: StudySettings, space: Space, studies: Path) -> WarmStart:
    """Return what the names in `settings.warm_start` give.

    They name studies in `studies`, the published networks, or architecture files.

    A network is tried with its own recipe as far as the space has that, and with the space's otherwise. With a target,
    those of an earlier study of the same data begin with the smallest that reached it there, and what was far below is
    left out.

    Raises:
        NasError: a name is none, or what it names cannot be read.
    """
    found = WarmStart({}, {})
    origins: dict[tuple[str, Recipe], str] = {}  # of a network and the recipe that it is trained by
    for name in settings.warm_start:
        known = list(_known(name, studies, settings))
        if not known:
            found.left_out[name] = "no trial of that study has completed"
        for origin, architecture, recipe, accuracy in known:
            while origin in found.networks or origin in found.left_out:
                origin += "'"  # another file of that name
            genes, reason = _genes(space, settings.budget, architecture, recipe)
            if not reason and accuracy is not None and settings.target is not None:
                is_hopeless = 100 - accuracy > MOST_ERRORS * (100 - settings.target)
                reason = f"it came to {accuracy:.2f} % there, far below {settings.target:g}" if is_hopeless else ""
            if not reason:
                same = (digest_of(lower(architecture)), recipe_of(space, genes))
                first = origins.setdefault(same, origin)
                reason = f"it is the same as {first}" if first != origin else ""
            if reason:
                found.left_out[origin] = reason
            else:
                found.networks[origin] = genes
    return found


def _genes(space: Space, budget: Budget, architecture: Architecture, recipe: Recipe) -> tuple[Genes, str]:
    """Return its genes, or why there are none that the search may try."""
    if excesses := budget.excesses(costs_of(lower(architecture))):
        return {}, f"over budget: {'; '.join(excesses)}"
    try:
        return genes_of(space, architecture) | _recipe_genes(space, recipe), ""
    except SpaceError as error:
        _, reason, *more = str(error).split("\n  ")
        rest = f", and {len(more)} more reasons" if more else ""
        return {}, f"no member of space {space.name!r}: {reason}{rest}"


def _recipe_genes(space: Space, recipe: Recipe) -> dict[str, Value]:
    """Return the genes of a recipe, but for values that the space does not have."""
    keys = {name: key.removeprefix("recipe.") for name, key in space.keys.items() if key.startswith("recipe.")}
    values = {name: getattr(recipe, key) for name, key in keys.items()}
    return {name: value for name, value in values.items() if space.genes[name].contains(value)}


def _known(name: str, studies: Path, settings: StudySettings) -> Iterator[_Known]:
    if name == REFERENCE:
        for path in sorted(REFERENCES.glob("*.toml")):
            file = read_architecture(path)
            yield _Known(f"{REFERENCE} {path.stem}", file.architecture, file.recipe)
    elif name.endswith(".toml"):
        file = read_architecture(Path(name))
        # Reports and tables are shown around: without the folders of a person's machine.
        yield _Known(Path(name).name, file.architecture, file.recipe)
    else:
        yield from _front_of(name, studies, settings)


def _front_of(name: str, studies: Path, settings: StudySettings) -> Iterator[_Known]:
    try:
        folder = find_study(studies, name)
        folder.require()
    except (UsageError, StudyError) as error:
        raise UsageError(
            f"`warm_start` {name}: {error}; or give {REFERENCE!r}, or an architecture file that ends in .toml"
        ) from None
    earlier, space = folder.settings(), kept_space(folder) if folder.is_kept else None
    records = front_records(read_records(folder))
    front = [(r, r.confirmed.mean if r.confirmed else r.validation_accuracy) for r in records]
    target, is_comparable = settings.target, earlier.dataset == settings.dataset
    if target is not None and is_comparable:
        # The smallest that reached it, larger ones, and then what came nearest to it.
        front.sort(key=lambda pair: (pair[1] < target, pair[0].size if pair[1] >= target else target - pair[1]))
    for record, figure in front:
        origin, accuracy = f"trial {record.number} of {name}", figure if is_comparable else None
        if network := kept_network(folder, record):
            yield _Known(origin, network.architecture, network.recipe, accuracy)
        elif space and (found := known_candidate(space, record)):
            yield _Known(origin, found.architecture, trial_recipe(space, earlier, record.genes), accuracy)
