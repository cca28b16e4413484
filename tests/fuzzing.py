"""Damaged and made-up inputs, for readers that may meet them with a `NasError` alone.

NAS_FUZZ=20000 asks for that many inputs of each kind in place of the short run, NAS_FUZZ_SEED for others.
"""

from __future__ import annotations

import os
import random
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nas.errors import NasError

SECONDS = 10  # of processor time, for each input
MEMORY_BYTES = 2 * 2**30  # beyond what the process has
_NUMBERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]


class TookTooLong(BaseException):
    """No `Exception`, which a reader may take for a damaged file."""


def fuzz(read: Callable[[bytes], object], make: Callable[[random.Random], bytes], short: int, last: Path) -> None:
    """Give made-up inputs to a reader; fail on the first that it meets with anything but a result or a `NasError`.

    Args:
        read: the reader.
        make: makes one input.
        short: how many inputs belong to a run that nobody asked for.
        last: where each input is kept until it was read, also when the interpreter dies of it.
    """
    count, seed = int(os.environ.get("NAS_FUZZ", short)), int(os.environ.get("NAS_FUZZ_SEED", 0))
    ends: Counter[str] = Counter()
    with _bounded():
        for number in range(count):
            if number and number % 1000 == 0:
                print(f"{number:,} of {count:,} inputs", flush=True)
            content = make(random.Random(f"{seed} {number}"))
            last.write_bytes(content)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                read(content)
                ends["read"] += 1
            except NasError:
                ends["refused"] += 1
            except BaseException as error:
                error.add_note(f"input {number} of seed {seed}, {len(content):,} bytes, is kept in {last}")
                raise
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    print(f"{count:,} inputs of seed {seed}: {dict(ends)}")
    assert min(ends["read"], ends["refused"]) > count / 100, f"inputs of one kind: {ends}"


def mutate(content: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Return `content` with a few mistakes of the kinds that disks, copies and programs make."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        at = rng.randrange(len(data) + 1)
        length = min(rng.choice([1, 2, 4, 8, 64, 512]), len(data) - at)
        match rng.randrange(7):
            case 0 if length:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + length] = rng.randbytes(length)
            case 2:
                number = rng.choice(_NUMBERS).to_bytes(8, rng.choice(["little", "big"]))
                data[at : at + length] = number[: min(length, 8)]
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length] * rng.choice([1, 1, 50])
            case 5 if rng.random() < 0.2:
                del data[at:]
            case 6 if others:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                data[at : at + length] = other[start : start + length]
    return bytes(data)


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise where an input takes more than `SECONDS` or `MEMORY_BYTES`."""

    def stop(*_: object) -> None:
        raise TookTooLong(f"more than {SECONDS} s of processor time")

    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (has + MEMORY_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGPROF, handler)
