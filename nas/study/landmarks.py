"""The published networks that stand beside a front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from nas.arch import lower, read_architecture
from nas.costs import costs_of
from nas.study.folder import SHIPPED_STUDIES

REFERENCES = SHIPPED_STUDIES / "reference"


@dataclass(frozen=True, slots=True)
class Reference:
    """A published network, a landmark beside the front."""

    name: str
    num_params: int
    deployed_params: int
    best_test_accuracy: float  # percent, the best epoch: what its document reports
    num_macs: int
    peak_activation_bytes: int
    flash_bytes: int
    ram_bytes: int

    @property
    def size_text(self) -> str:
        """'7,788 parameters (7,588 deployed)'."""
        return f"{self.num_params:,} parameters ({self.deployed_params:,} deployed)"


def references(dataset: str) -> list[Reference]:
    """Return the published networks for a data set, by size."""
    return sorted((r for data, r in _published() if data == dataset), key=lambda r: r.num_params)


@cache  # the files are shipped, and stay as they are
def _published() -> list[tuple[str, Reference]]:
    """Return every published network whose accuracy is known, each with its data set."""
    files = [read_architecture(path) for path in sorted(REFERENCES.glob("*.toml"))]
    found = []
    for file in files:
        if (best := file.published_best_test_accuracy) is not None:
            costs = costs_of(lower(file.architecture))
            reference = Reference(file.name, best_test_accuracy=best, **costs.counts(), **costs.device_bytes())
            found.append((file.dataset, reference))
    return found
