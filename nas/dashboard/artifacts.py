"""The drawing, the module and the weights of each confirmed trial, as artifacts that optuna-dashboard shows with it."""

from __future__ import annotations

import json
import mimetypes
import tempfile
import uuid
from pathlib import Path

from optuna.artifacts import FileSystemArtifactStore

from nas.report.network_drawing import architecture_svg
from nas.report.png import png_of
from nas.storage.study_store import Store
from nas.study.claims import claims, provenance
from nas.study.folder import StudyFolder
from nas.study.networks import kept_network
from nas.study.records import TrialRecord

_DRAWING_WIDTH = 350  # pixels: about what a card of the dashboard is wide
_KINDS = (".png", ".py", ".pt")


def artifact_store(folder: StudyFolder) -> FileSystemArtifactStore:
    """Where the files of the study's artifacts lie."""
    path = folder.run / "artifacts"
    path.mkdir(parents=True, exist_ok=True)
    return FileSystemArtifactStore(str(path))


def save_artifacts(store: Store) -> None:
    """Adds what is missing to the confirmed trials, and replaces what an added seed has outdated.

    Raises:
        SQLAlchemyError, StorageInternalError: the storage cannot be written.
        OSError: the files cannot.
    """
    ids = {trial.number: trial._trial_id for trial in store.study.get_trials(deepcopy=False)}
    for record in store.records():
        if not record.confirmations:
            continue
        # Optuna takes no artifact for a trial that has ended, and a confirmation comes after that. The dashboard also
        # reads a trial's artifacts from the attributes of its study, which is where these go.
        prefix = f"dashboard:artifacts:{ids[record.number]}:"
        wanted = {prefix + _identity(record, kind): kind for kind in _KINDS}
        kept = {k: v for k, v in _attributes(store).items() if k.startswith(prefix) and v != "null"}
        missing = {kind: key for key, kind in wanted.items() if key not in kept}
        if missing:
            _save(store, record, missing)
            for key in kept.keys() - wanted.keys():
                _set_attribute(store, key, "null")
                artifact_store(store.folder).remove(key.removeprefix(prefix))


def _identity(record: TrialRecord, kind: str) -> str:
    """Of a file: the same for the same seeds, so that nobody adds it twice."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{record.digest} {len(record.confirmations)} {kind}"))


def _save(store: Store, record: TrialRecord, missing: dict[str, str]) -> None:
    network = kept_network(store.folder, record)
    if network is None:
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"trial_{record.number}"
        if ".png" in missing:
            path.with_suffix(".png").write_bytes(png_of(architecture_svg(network.architecture, _DRAWING_WIDTH)))
        if ".py" in missing or ".pt" in missing:
            from nas.export.formats import write  # brings torch, which is needed here alone

            document = store.folder.document()
            about = provenance(store.folder.name, document.settings, record)
            write(network, claims(document, record), about, path.with_suffix(".py"))
        for kind, key in missing.items():
            file = path.with_suffix(kind)
            if not file.is_file():
                continue
            identity = key.rpartition(":")[2]
            with file.open("rb") as content:
                artifact_store(store.folder).write(identity, content)
            mimetype = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            meta = {"artifact_id": identity, "filename": file.name, "mimetype": mimetype, "encoding": None}
            _set_attribute(store, key, json.dumps(meta))


def _attributes(store: Store) -> dict[str, str]:
    attributes: dict[str, str] = store.study._storage.get_study_system_attrs(store.study._study_id)
    return attributes


def _set_attribute(store: Store, key: str, value: str) -> None:
    store.study._storage.set_study_system_attr(store.study._study_id, key, value)
