from __future__ import annotations

import collections
import random
from typing import Annotated, Any, Literal

import pytest

from nas.decode import Bounds
from nas.space import Choice, Domain, FloatRange, IntRange, domain_text
from nas.space.domains import MAX_OPTIONS, Setting, decode_setting

WIDTH = Annotated[int, Bounds(1, 64)]
RATE = Annotated[float, Bounds(0.0, 1.0)]


def decoded(value: Any, hint: Any = WIDTH) -> Setting:
    problems: list[str] = []
    setting = decode_setting(value, hint, "block", "key", problems)
    assert problems == []
    assert setting is not None
    return setting


def problems_of(value: Any, hint: Any = WIDTH) -> list[str]:
    problems: list[str] = []
    assert decode_setting(value, hint, "block", "key", problems) is None
    return problems


@pytest.mark.parametrize(
    ("value", "hint", "domain"),
    [
        (8, WIDTH, Choice((8,))),
        ([8, 16, 24], WIDTH, Choice((8, 16, 24))),
        ({"choices": [8, 16]}, WIDTH, Choice((8, 16))),
        ({"low": 4, "high": 10, "step": 3}, WIDTH, IntRange(4, 10, 3)),
        ({"low": 4, "high": 32, "log": True}, WIDTH, IntRange(4, 32, 1, True)),
        ({"low": 7, "high": 7}, WIDTH, Choice((7,))),
        ({"low": 0, "high": 0.5}, RATE, FloatRange(0.0, 0.5)),
        ({"low": 0.5, "high": 0.5}, RATE, Choice((0.5,))),
        ([0, 0.5], RATE, Choice((0.0, 0.5))),
        ([True, False], bool, Choice((True, False))),
        ("a", Literal["a", "b"], Choice(("a",))),
    ],
)
def test_the_forms_of_a_key(value: Any, hint: Any, domain: Domain) -> None:
    assert decoded(value, hint) == Setting(domain, "block")


def test_per_is_read_with_either_table() -> None:
    assert decoded({"choices": [8, 16], "per": "stage"}).per == "stage"
    assert decoded({"low": 8, "high": 16, "per": "network"}).per == "network"


@pytest.mark.parametrize(
    ("value", "hint", "problem"),
    [
        ([], WIDTH, "key: the list is empty; give at least one value"),
        ([8, 16, 8], WIDTH, "key: 8 is listed twice; leave one out"),
        ([8, 100], WIDTH, "key[1]: 100 exceeds 64, the most"),
        ([8, "9"], WIDTH, "key[1]: '9' is not a whole number"),
        ([True], WIDTH, "key: True is not a whole number"),
        (list(range(101)), WIDTH, "key: 101 values exceed 100, the most; use a range, low and high"),
        ({"low": 9, "high": 8}, WIDTH, "key.low: 9 exceeds high, 8; swap them"),
        ({"low": 0, "high": 0.5, "log": True}, RATE, "key.low: 0.0 has no logarithm; use a low above 0, or leave log"),
        ({"low": 1, "high": 3, "step": 0}, WIDTH, "key.step: 0 is below 1, the least"),
        ({"low": 1, "high": 4, "step": 2}, WIDTH, "key.high: 4 is not reached from low = 1 in steps of 2; use 3 or 5"),
        ({"low": 1, "high": 4, "step": 1, "log": True}, WIDTH, "key.step: a range with log has no step; leave it out"),
        ({"low": 0, "high": 1, "step": 1}, RATE, "key.step: a range of real numbers has no step; leave it out"),
        ({"low": 1}, WIDTH, "key.high: missing; a range has low and high, a list of values has choices"),
        ({"low": 0, "high": 8}, WIDTH, "key.low: 0 is below 1, the least"),
        ({"low": "a", "high": "b"}, Literal["a", "b"], "key: only numbers have a range; list the values instead"),
        ({"low": False, "high": True}, bool, "key: only numbers have a range; list the values instead"),
        ({"low": 1, "high": 3, "stp": 2}, WIDTH, "key.stp: unknown key; did you mean 'step'?"),
        ({"choices": [1, 2], "low": 1}, WIDTH, "key.low: unknown key; known: choices, per"),
        ({"choices": 3}, WIDTH, "key.choices: 3 is not a list"),
        ({"choices": [1, 2], "per": "blok"}, WIDTH, "key.per: 'blok' is not known; did you mean 'block'?"),
        ({"low": 1, "high": 2, "per": 3}, WIDTH, "key.per: 3 is not known; known: block, network, stage"),
    ],
)
def test_problems_of_a_key(value: Any, hint: Any, problem: str) -> None:
    (found,) = problems_of(value, hint)
    assert found.startswith(problem)


def test_a_list_may_have_as_many_values_as_it_says() -> None:
    assert decoded(list(range(1, MAX_OPTIONS + 1)), Annotated[int, Bounds(1)]).domain.size == 100


DOMAINS: list[Domain] = [
    Choice((8, 16, 24)),
    Choice((True, False)),
    IntRange(4, 32),
    IntRange(4, 10, 3),
    IntRange(1, 64, log=True),
    FloatRange(-1.0, 1.0),
    FloatRange(1e-3, 1e-1, log=True),
]


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_draws_are_members_and_reach_every_value(domain: Domain) -> None:
    rng = random.Random(0)
    drawn = [domain.draw(rng) for _ in range(4000)]
    assert all(domain.contains(v) for v in drawn)
    if isinstance(domain, FloatRange):
        assert domain.size == float("inf")
        assert len(set(drawn)) == 4000
    else:
        assert set(drawn) == set(domain.values())
        assert domain.size == len(domain.values())


@pytest.mark.parametrize(
    ("domain", "outside"),
    [
        (Choice((8, 16)), 9),
        (IntRange(4, 10, 3), 5),
        (IntRange(4, 10), 11),
        (IntRange(1, 4), True),
        (IntRange(4, 10), 7.0),
        (FloatRange(0.0, 1.0), 1.01),
        (FloatRange(0.0, 1.0), "0.5"),
    ],
)
def test_what_a_domain_does_not_contain(domain: Domain, outside: Any) -> None:
    assert not domain.contains(outside)


def test_log_draws_are_even_over_the_logarithm() -> None:
    rng = random.Random(0)
    for domain in (IntRange(1, 100, log=True), FloatRange(1.0, 100.0, log=True)):
        below = sum(float(domain.draw(rng)) < 10 for _ in range(4000)) / 4000
        # ln(9.5 / 0.5) / ln(100.5 / 0.5) is 0.555 for whole numbers, which reach half a step beyond their ends.
        assert below == pytest.approx(0.555 if isinstance(domain, IntRange) else 0.5, abs=0.03)


def test_plain_draws_are_even() -> None:
    rng = random.Random(0)
    counts = collections.Counter(IntRange(4, 10, 3).draw(rng) for _ in range(3000))
    assert all(counts[v] == pytest.approx(1000, abs=120) for v in (4, 7, 10))


def test_domains_in_words() -> None:
    words = [domain_text(domain) for domain in (DOMAINS[0], DOMAINS[3], DOMAINS[4], DOMAINS[6])]
    assert words == ["8 | 16 | 24", "4 to 10, step 3", "1 to 64, log", "0.001 to 0.1, log"]
