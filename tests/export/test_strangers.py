"""A file from a stranger is used or refused: whatever it holds, nothing but a NasError comes of it, and soon."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nas.arch import Input, lower, read_architecture
from nas.arch.files import ArchitectureFile
from nas.costs import costs_of
from nas.decode import encode
from nas.errors import NasError
from nas.space import candidate, load_space
from nas.storage.study_store import Store
from nas.study.folder import StudyFolder
from nas.study.settings import StudySettings, read_settings

ROOT = Path(__file__).parents[2]
SECONDS = 5.0  # of processor time, that no file may take; the slowest good one takes a tenth of one

VALUES = [
    *("true", "nan", "inf", "-1", "0", "1", "3", "1e999", "-0.0", "0.5", "99999999999", "9" * 5000, "0x7f", "1_0"),
    *('""', '"none"', '"type"', '"\\u0000"', "'''", '"' + "x" * 3000 + '"', "[]", "{}", "[1]", "[[1], [2]]", "null"),
    *("[" * 3000 + "]" * 3000, "{a=" * 500 + "1" + "}" * 500, "[" + "1," * 3000 + "]", "{ low = 3, high = 1 }"),
    *("{ low = 1, high = 1000000000 }", '["a", "a"]', "[1, 2.5, true]", "1979-05-27", "{ type = 'max', type = 1 }"),
]
STUDY = """max_params = 8000
max_macs = 1000000
max_activation_bytes = 100000
dataset = "mnist"
image_size = 28
color = false
space = "separable"
epochs = 12
seed = 1
target = 99.4
trials = 100
time = 3600.0
seeds = 3
"""
FRAGMENTS = ["\n", "=", "[", "]", "{", "}", '"', "#", "\0", "é", "[[body]]\n", "[stages]\n", "type = 'max'\n", *VALUES]


@st.composite
def spoilt(draw: st.DrawFn, texts: tuple[str, ...], separator: str) -> bytes:
    """One of `texts` with a few values replaced, lines moved about, fragments inserted, pieces cut, bytes changed."""
    lines = draw(st.sampled_from(texts)).splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 4))):
        if not lines:
            break
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        match draw(st.sampled_from(["value", "value", "value", "drop", "again", "insert", "cut"])):
            case "value":
                key, found, rest = line.partition(separator)
                end = "," if rest.rstrip().endswith(",") else ""
                lines[at] = f"{key}{found} {draw(st.sampled_from(VALUES))}{end}\n" if found else line
            case "drop":
                del lines[at]
            case "again":
                lines.insert(draw(st.integers(0, len(lines))), line)
            case "insert":
                place = draw(st.integers(0, len(line)))
                lines[at] = line[:place] + draw(st.sampled_from(FRAGMENTS)) + line[place:]
            case "cut":
                lines[at] = line[: draw(st.integers(0, len(line)))]
    content = "".join(lines).encode("utf-8", "surrogateescape")
    if draw(st.integers(0, 9)) == 0 and content:
        place = draw(st.integers(0, len(content) - 1))
        content = content[:place] + draw(st.binary(max_size=3)) + content[place + 1 :]
    return content


def texts(*patterns: str) -> tuple[str, ...]:
    return tuple(path.read_text() for pattern in patterns for path in sorted(ROOT.glob(pattern)))


def architecture(path: Path) -> None:
    """As `nas arch show`."""
    read: ArchitectureFile = read_architecture(path)
    costs_of(lower(read.architecture))


def space(path: Path) -> None:
    """As `nas space show`, up to the networks."""
    found = load_space(str(path), Input(1, 28, 28), 10)
    candidate(found, found.plain_genes)


def study(path: Path) -> None:
    """As `nas search --study`."""
    read_settings(path)


def folder(path: Path) -> None:
    """As `nas status`, up to the storage."""
    studies = path.parent / "studies"
    (studies / "a/run").mkdir(parents=True, exist_ok=True)
    path.replace(studies / "a/run/settings.json")
    found = StudyFolder(studies, "a")
    found.document()


def journal(path: Path) -> None:
    """As `nas status`, with its trials in a journal."""
    studies = path.parent / "studies"
    (studies / "a/run").mkdir(parents=True, exist_ok=True)
    document = json.loads(settings_text())
    document["storage"] = f"journal://{path}"
    (studies / "a/run/settings.json").write_text(json.dumps(document))
    Store(StudyFolder(studies, "a")).records()


@cache
def settings_text() -> str:
    document = {
        "settings": encode(StudySettings(2000, dataset="digits", space="tiny_digits", target=50.0)),
        "fingerprints": {"space": "a", "data": "b"},
        "identity": "c",
        "storage": None,
    }
    return json.dumps(document, indent=2)


@cache
def journal_text() -> str:
    """What Optuna's journal holds of a study with a completed, a running and a waiting trial, and a confirmation."""
    import tempfile

    import optuna

    distributions = {"a": optuna.distributions.IntDistribution(1, 4)}
    described = {"num_params": 9, "num_macs": 9, "peak_activation_bytes": 9, "digest": "x", "seed": 1}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "journal"
        backend = optuna.storages.journal.JournalFileBackend(str(path))
        made = optuna.create_study(study_name="a", storage=optuna.storages.JournalStorage(backend))
        for fate in ("completed", None):
            trial = made.ask(distributions)
            for name, value in (described | {"fate": fate} if fate else described).items():
                trial.set_user_attr(name, value)
            trial.report(50.0, 1)
            if fate:
                made.tell(trial, 50.0)
        made.enqueue_trial({"a": 3})
        made.set_user_attr("confirmation:0:5", {"seed": 5, "test_accuracy": [50.0], "train_seconds": 1.0})
        return path.read_text().replace(',"', ',\n"')


READERS: dict[str, tuple[Callable[[Path], None], st.SearchStrategy[bytes]]] = {
    "architecture": (architecture, spoilt(texts("studies/reference/*.toml"), "=")),
    "space": (space, spoilt(texts("search_spaces/*.toml"), "=")),
    "study": (study, spoilt((STUDY,), "=")),
    "folder": (folder, spoilt((settings_text(),), ":")),
    "journal": (journal, spoilt((journal_text(),), ":").map(lambda c: c.replace(b",\n", b","))),
}


def feed(reader: Callable[[Path], None], path: Path, content: bytes) -> None:
    path.write_bytes(content)
    began = time.process_time()
    refusal = None
    try:
        reader(path)
    except NasError as error:
        refusal = str(error)
    assert refusal is None or 0 < len(refusal) < 20_000
    assert time.process_time() - began < SECONDS


def fuzz(name: str, examples: int, folder: Path) -> None:
    reader, contents = READERS[name]

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(contents)
    def run(content: bytes) -> None:
        feed(reader, folder / "file.toml", content)

    run()


@pytest.mark.parametrize("name", READERS)
def test_a_strangers_file_is_used_or_refused(name: str, tmp_path: Path) -> None:
    fuzz(name, 100, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "examples"), [(n, 10_000 if n == "journal" else 24_000) for n in READERS])
def test_a_hundred_thousand_strangers_files(name: str, examples: int, tmp_path: Path) -> None:
    fuzz(name, examples, tmp_path)


@pytest.mark.parametrize("name", READERS)
def test_the_files_that_are_spoilt_are_good_ones(name: str, tmp_path: Path) -> None:
    """Else everything would be refused at its first line, and nothing be learned."""
    reader, _ = READERS[name]
    good = {
        "architecture": partial(texts, "studies/reference/*.toml"),
        "space": partial(texts, "search_spaces/*.toml"),
        "study": lambda: (STUDY,),
        "folder": lambda: (settings_text(),),
        "journal": lambda: (journal_text().replace(",\n", ","),),
    }[name]
    for text in good():
        path = tmp_path / "file.toml"
        path.write_text(text)
        reader(path)
