"""The drawing, the module and the weights of each confirmed trial, as artifacts that optuna-dashboard shows.

They belong to the study: Optuna takes no artifact for a trial that has ended, and a confirmation comes after that.
Their file names say which trial they are of.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact

from nas.report.network_drawing import architecture_svg
from nas.report.png import png_of
from nas.storage.locks import locked
from nas.storage.study_store import Store
from nas.study.claims import claims, provenance
from nas.study.folder import StudyFolder
from nas.study.networks import kept_network
from nas.study.records import TrialRecord

SEEDS_SHOWN = "seeds of the artifacts"  # the study attribute: how many seeds a trial's files speak of, by trial
_DRAWING_WIDTH = 350  # pixels: about what a card of the dashboard is wide


def artifact_store(folder: StudyFolder) -> FileSystemArtifactStore:
    """Return where the files of the study's artifacts lie."""
    path = folder.run / "artifacts"
    with contextlib.suppress(OSError):  # where a study may only be read, those show that are there
        path.mkdir(parents=True, exist_ok=True)
    return FileSystemArtifactStore(str(path))


def save_artifacts(store: Store) -> None:
    """Add the files of newly confirmed trials, and rewrite those which another seed has outdated.

    Raises:
        BusyError: another process is doing so.
        SQLAlchemyError, StorageInternalError: the storage cannot be written.
        OSError: the files cannot.
    """
    confirmed = [record for record in store.records() if record.confirmations]
    if not _outdated(store, confirmed):
        return
    with locked(store.folder.run / "artifacts.lock", store.folder.name):
        for record in _outdated(store, confirmed):
            if not _save(store, record):
                continue
            # Last, and read anew: what was cut off before this is done again.
            shown = store.study.user_attrs.get(SEEDS_SHOWN, {})
            store.study.set_user_attr(SEEDS_SHOWN, shown | {str(record.number): len(record.confirmations)})


def _outdated(store: Store, confirmed: list[TrialRecord]) -> list[TrialRecord]:
    shown = store.study.user_attrs.get(SEEDS_SHOWN, {})
    return [record for record in confirmed if shown.get(str(record.number)) != len(record.confirmations)]


def _save(store: Store, record: TrialRecord) -> bool:
    """Write the files of one trial; return whether its network is kept, from which they are made."""
    network = kept_network(store.folder, record)
    if network is None:
        return False
    from nas.export.formats import write  # brings torch, which is needed here alone

    files = artifact_store(store.folder)
    kept = {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(store.study)}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"trial_{record.number}"
        path.with_suffix(".png").write_bytes(png_of(architecture_svg(network.architecture, _DRAWING_WIDTH)))
        document = store.folder.document()
        about = provenance(store.folder.name, document.settings, record)
        write(network, claims(store.folder.name, document, record), about, path.with_suffix(".py"))
        for file in sorted(Path(scratch).iterdir()):
            if file.name in kept:
                with file.open("rb") as content:
                    files.write(kept[file.name], content)
            else:
                upload_artifact(artifact_store=files, file_path=str(file), study_or_trial=store.study)
    return True
