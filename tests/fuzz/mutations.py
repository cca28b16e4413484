"""Damaged inputs, made from good ones; the same for the same seed.

A short run is part of all tests. `NAS_FUZZ=20000` tries as many of each kind.
"""

from __future__ import annotations

import os
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from nas.errors import NasError

SHORT_COUNT = 150
COUNT = int(os.environ.get("NAS_FUZZ", SHORT_COUNT))
SEED = int(os.environ.get("NAS_FUZZ_SEED", 0))
MOST_SECONDS = 10.0  # that one input may take
MOST_BYTES = 2 << 30  # of memory that all of them may add

# What readers of text and numbers trip over.
_TOKENS = (
    b"0", b"-1", b"1e999", b"nan", b"-inf", b"9" * 400, b"1e-320", b"2147483648", b"18446744073709551616", b"true",
    b"null", b"None", b'""', b"''", b"[]", b"{}", b"[" * 3000, b"{" * 3000, b'{"a":' * 2000, b"\x00", b"\xff\xfe",
    b"\xed\xb0\x80", b"\n", b"\r", b"=", b'"', b"\\u0000", b"\\ud800", b"../", b"/dev/zero", b"$(id)", b"1.5",
    b"__import__('os')", b"\xef\xbb\xbf", b"[[[]]]", b",", b":",
)  # fmt: skip


def mutate(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """Return `content` after one to four changes, some taken from `others`."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        start = rng.randrange(len(content) + 1)
        end = min(len(content), start + rng.choice((0, 1, 1, 4, 16, 200)))
        other = rng.choice(others)
        cut = rng.randrange(len(other) + 1)
        match rng.randrange(7):
            case 0:
                piece = bytes([rng.randrange(256)])
            case 1:
                piece = rng.choice(_TOKENS)
            case 2:
                piece = b""
            case 3:
                piece = content[start:end] * 2
            case 4:
                piece = other[cut : cut + rng.choice((1, 8, 60, 500))]
            case 5:
                piece, end = b"", len(content)  # cut off
            case _:
                piece = bytes(byte ^ (1 << rng.randrange(8)) for byte in content[start:end])
        content = content[:start] + piece + content[end:]
    return content


def mutations(originals: Sequence[bytes], seed: int = SEED) -> Iterator[bytes]:
    """Yield `COUNT` damaged inputs."""
    rng = random.Random(seed)
    for _ in range(COUNT):
        yield mutate(rng, rng.choice(originals), originals)


def only_nas_errors(inputs: Iterator[bytes], read: Callable[[bytes], object]) -> Counter[str]:
    """Check that `read` takes each of `inputs`, or raises a NasError in good time; return how often each happened.

    At least one input must be taken and one refused, or nothing was tried.
    """
    outcomes: Counter[str] = Counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, content in enumerate(inputs):
        began = time.process_time()
        try:
            read(content)
            outcomes["taken"] += 1
        except NasError:
            outcomes["refused"] += 1
        except Exception as error:
            raise AssertionError(f"input {number} of seed {SEED}: {content[:500]!r}") from error
        seconds = time.process_time() - began
        assert seconds < MOST_SECONDS, f"input {number} of seed {SEED} took {seconds:.1f} s: {content[:500]!r}"
    added = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory)
    assert added < MOST_BYTES, f"{added:,} bytes of memory"
    assert outcomes.keys() == {"taken", "refused"}, outcomes
    print(f"{sum(outcomes.values())} inputs, seed {SEED}: {dict(outcomes)}, {added >> 20} MiB more memory")
    return outcomes
