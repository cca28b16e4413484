from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nas.study.front import pareto_front

points = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), max_size=25)


def _dominates(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(points)
def test_front_is_what_nothing_dominates(items: list[tuple[int, int]]) -> None:
    front = pareto_front(items, lambda p: p[0], lambda p: p[1])
    assert set(front) == {p for p in items if not any(_dominates(q, p) for q in items)}
    assert front == sorted(front)
    assert len(set(front)) == len(front)
