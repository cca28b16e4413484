"""Studies made up for the tests of what is shown of them."""

from __future__ import annotations

import random

from nas.arch import Architecture, Block, Input, Pool
from nas.report.page import StudyFacts
from nas.study.folder import Fingerprints, StudyDocument, StudyImages
from nas.study.records import Confirmation, Fate, TrialRecord
from nas.study.settings import StudySettings

EPOCHS = 15
NETWORK = Architecture(
    Input(1, 28, 28),
    10,
    (Block(8), Block(16, "separable"), Pool(), Block(16, shortcut="identity"), Pool(), Block(24, "separable")),
)
SETTINGS = StudySettings(8000, target=99.4)
IMAGES = StudyImages(Input(1, 28, 28), tuple("0123456789"), 50_000, 10_000, 10_000)
FACTS = StudyFacts(
    name="made-up",
    document=StudyDocument(SETTINGS, Fingerprints("34e042e35849823f", "0123456789abcdef"), images=IMAGES),
    space_text='name = "separable"\n',
    command="nas search --name made-up --max-params 8000 --target 99.4",
)


def made_up_records(count: int, seed: int = 0) -> list[TrialRecord]:
    """`count` trials in which `width` matters and `noise` does not; some stopped, failed or confirmed."""
    rng = random.Random(seed)
    records = []
    for number in range(count):
        width = rng.randint(2, 48)
        num_params = 300 + 150 * width + rng.randint(0, 100)
        final = 99.5 - 8 / width + rng.gauss(0, 0.08)
        curve = tuple(round(final - 12 * (1 - e / EPOCHS) ** 2 + rng.gauss(0, 0.1), 2) for e in range(1, EPOCHS + 1))
        fate: Fate = rng.choices(("completed", "stopped", "failed"), (50, 45, 5))[0]
        epochs = {"completed": EPOCHS, "stopped": rng.choice((1, 3, 6)), "failed": 0}[fate]
        records.append(
            TrialRecord(
                number=number,
                fate=fate,
                num_params=num_params,
                deployed_params=num_params - width,
                num_macs=60 * num_params,
                peak_activation_bytes=40_000,
                flash_bytes=3_000 + num_params,
                ram_bytes=4_000 + 100 * width,
                digest=f"{number:016x}",
                genes={
                    "stage1.block1.width": width,
                    "noise": rng.random(),
                    "constant": 3,
                    **{
                        f"stage{s}.block{b}.kind": rng.choice(("plain", "separable")) for s in (1, 2) for b in (1, 2, 3)
                    },
                    **{f"stage{s}.block{b}.kernel": rng.choice((3, 5)) for s in (1, 2) for b in (1, 2, 3)},
                },
                seed=number,
                validation_curve=curve[:epochs],
                train_seconds=2.0 * epochs,
                reason="the loss is not finite" if fate == "failed" else "",
                network=f"{width} s{2 * width}",
            )
        )
    for index in sorted(range(count), key=lambda i: -(records[i].validation_curve or (0,))[-1])[: count // 100]:
        record = records[index]
        if record.fate == "completed":
            seeds = tuple(
                Confirmation(s, tuple(a + 0.1 + rng.gauss(0, 0.05) for a in record.validation_curve), 40.0)
                for s in range(3)
            )
            fields = {f: getattr(record, f) for f in TrialRecord.__dataclass_fields__} | {"confirmations": seeds}
            records[index] = TrialRecord(**fields)
    return records
