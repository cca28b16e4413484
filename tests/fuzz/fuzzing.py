"""Damaged and made-up inputs, for readers that may meet them with a `NasError` alone.

Input `number` of a seed is made from both alone.

NAS_FUZZ=20000 asks for that many inputs of each kind in place of the short run, NAS_FUZZ_SEED for others.
"""

from __future__ import annotations

import copy
import json
import os
import random
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.errors import NasError

SECONDS = 10  # of processor time, for each input
PATIENCE = 120  # seconds on the clock, for each: what waits and does nothing takes no processor time
MEMORY_BYTES = 2 * 2**30  # beyond what the process has
COUNT = int(os.environ.get("NAS_FUZZ", 0))  # 0 leaves it to each test
SEED = int(os.environ.get("NAS_FUZZ_SEED", 0))
_NUMBERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]
# What readers of text trip over.
_TOKENS = (
    b"0", b"-1", b"1e999", b"nan", b"-inf", b"9" * 400, b"1e-320", b"2147483648", b"18446744073709551616", b"true",
    b"null", b"None", b'""', b"''", b"[]", b"{}", b"[" * 3000, b"{" * 3000, b'{"a":' * 2000, b"\x00", b"\xff\xfe",
    b"\xed\xb0\x80", b"\n", b"\r", b"=", b'"', b"\\u0000", b"\\ud800", b"../", b"/dev/zero", b"$(id)", b"1.5",
    b"__import__('os')", b"\xef\xbb\xbf", b"[[[]]]", b",", b":",
)  # fmt: skip


_VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 3, 255, 2**31, 2**63, 10**400, 0.5, -1e308, float("nan"), float("inf")),
    *("", "x", "x" * 3000, "\0", "images", [], {}, [[]], [1, 2], [3, 8, 8], [-1] * 4, {"as_int": 2}, {"a": {"b": []}}),
]


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
    count, seed = COUNT or short, SEED
    ends: Counter[str] = Counter()
    with _bounded():
        for number in range(count):
            if number and number % 1000 == 0:
                print(f"{number:,} of {count:,} inputs", flush=True)
            content = make(random.Random(f"{seed} {number}"))
            last.write_bytes(content)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)
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
                signal.setitimer(signal.ITIMER_REAL, 0)
    print(f"{count:,} inputs of seed {seed}: {dict(ends)}")
    assert min(ends["read"], ends["refused"]) > count / 100, f"inputs of one kind: {ends}"


def mutate(content: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Return `content` with a few mistakes of the kinds that disks, copies, programs and people make."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice([0, 1, 1, 4, 8, 64, 512]))
        match rng.randrange(8):
            case 0:
                data[at:end] = bytes(byte ^ 1 << rng.randrange(8) for byte in data[at:end])
            case 1:
                data[at:end] = rng.randbytes(max(1, end - at))
            case 2:
                data[at : at + 8] = rng.choice(_NUMBERS).to_bytes(8, rng.choice(["little", "big"]))[: len(data) - at]
            case 3:
                data[at:end] = rng.choice(_TOKENS)
            case 4:
                del data[at:end]
            case 5:
                data[at:at] = data[at:end] * rng.choice([1, 1, 50])
            case 6:
                other = rng.choice(others or [content])
                start = rng.randrange(len(other) + 1)
                data[at:end] = other[start : start + rng.choice([1, 8, 60, 500])]
            case 7 if rng.random() < 0.3:
                del data[at:]  # cut off
    return bytes(data)


def spoil_json(content: bytes, rng: random.Random) -> bytes:
    """Replace, remove or repeat values anywhere in a document."""
    document = json.loads(content)
    for _ in range(rng.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        stack: list[Any] = [document]
        while stack:
            value = stack.pop()
            keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
            places += [(value, key) for key in keys]
            stack += [value[key] for key in keys]
        if not places:
            break
        holder, key = rng.choice(places)
        other_holder, other_key = rng.choice(places)
        match rng.randrange(4):
            case 0 | 1:
                holder[key] = copy.deepcopy(rng.choice(_VALUES))
            case 2:
                holder[key] = copy.deepcopy(other_holder[other_key])
            case 3:
                del holder[key]
    return json.dumps(document).encode()


def mutated(originals: Sequence[bytes]) -> Callable[[random.Random], bytes]:
    """Return what makes an input of one of `originals`, with pieces of the others."""
    return lambda rng: mutate(rng.choice(originals), rng, originals)


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise where an input takes more than `SECONDS` or `MEMORY_BYTES`."""

    def stop(*_: object) -> None:
        raise TookTooLong(f"more than {SECONDS} s of processor time, or {PATIENCE} s in all")

    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    numbers = (signal.SIGPROF, signal.SIGALRM)
    handlers = [signal.signal(number, stop) for number in numbers]
    resource.setrlimit(resource.RLIMIT_AS, (has + MEMORY_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
