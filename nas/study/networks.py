"""The trained networks that a study keeps, a file each: a trial's own, and one for each seed of its confirmation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from nas.arch import lower
from nas.costs import costs_of
from nas.errors import StudyError
from nas.host import written_whole
from nas.model.trained_network import TrainedNetwork, read_trained_network
from nas.study.folder import StudyFolder
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings


def network_file(folder: StudyFolder, trial: int, seed: int | None = None) -> Path:
    """Return where a trial's network lies, or that of one seed of its confirmation."""
    suffix = "" if seed is None else f"_confirmed_{seed}"
    return folder.networks / f"trial_{trial}{suffix}.safetensors"


def keep_network(folder: StudyFolder, trial: int, seed: int | None, content: bytes) -> None:
    """Write what `TrainedNetwork.to_bytes` gave, whole or not at all.

    Raises:
        StudyError: the file cannot be written.
    """
    file = network_file(folder, trial, seed)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(file) as whole:
            whole.write_bytes(content)
    except OSError as error:
        what = f"trial {trial}" if seed is None else f"a confirmation of trial {trial}"
        where = f" ({error.filename})" if error.filename else ""
        raise StudyError(
            f"{what} could not be kept: {error.strerror}{where}; see to that, then resume with the same command"
        ) from None


def has_networks(folder: StudyFolder) -> bool:
    """Return whether a trial was ever trained to its end here, by this version or the one before."""
    return any(folder.run.glob("networks/*.safetensors")) or any(folder.run.glob("weights/*.pt"))


def kept_file(folder: StudyFolder, record: TrialRecord) -> Path:
    """Return where the network that stands for a trial lies, if it is kept.

    It is that of the confirmation's first seed (the first, so that the test set does not choose), or the trial's own
    where it was not confirmed.
    """
    return network_file(folder, record.number, record.confirmations[0].seed if record.confirmations else None)


def kept_digest(folder: StudyFolder, record: TrialRecord) -> str:
    """Return the SHA-256 of the file of `kept_file`, by which what was derived from the network is known to be its own.

    Raises:
        OSError: the file cannot be read.
    """
    return hashlib.sha256(kept_file(folder, record).read_bytes()).hexdigest()


def kept_network(folder: StudyFolder, record: TrialRecord) -> TrainedNetwork | None:
    """Return the network that stands for a trial, or None where none is kept.

    Raises:
        StudyError: the file is damaged.
    """
    file = kept_file(folder, record)
    return read_trained_network(file) if file.is_file() else None


def device_costs(network: TrainedNetwork | None) -> dict[str, int]:
    """Return the flash and the RAM that a network takes in 8 bits, in bytes; nothing without a network."""
    return costs_of(lower(network.architecture)).device_bytes() if network else {}


def device_text(costs: Mapping[str, int], settings: StudySettings) -> str:
    """Return what `device_costs` found as text, with the limits of the study."""
    parts = []
    for what, found, most in (
        ("flash", costs["flash_bytes"], settings.max_flash),
        ("RAM", costs["ram_bytes"], settings.max_ram),
    ):
        parts.append(f"{found:,} bytes of {what}" + ("" if most is None else f" (of {most:,})"))
    return f"at most {' and '.join(parts)}"


def require_network(folder: StudyFolder, record: TrialRecord) -> TrainedNetwork:
    """Return the network that stands for a trial, as `kept_network` does.

    Raises:
        StudyError: none is kept, or its file is damaged.
    """
    network = kept_network(folder, record)
    if network is None:
        again = "export another trial"
        if record.num_epochs and not folder.is_kept:
            again = f"train it again with: nas confirm {folder.name} --trial {record.number}"
        raise StudyError(f"trial {record.number} ({record.fate}) has no network in {folder.networks}; {again}")
    return network
