from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.sample import stratified_sample


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    count=st.integers(1, 200),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=200)
def test_each_class_has_its_share(sizes: list[int], count: int, seed: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    indices = stratified_sample(labels, count, seed)
    assert len(indices) == min(count, len(labels))
    assert len(set(indices.tolist())) == len(indices)
    assert indices.tolist() == sorted(indices.tolist())
    counts = torch.bincount(labels[indices], minlength=len(sizes)).tolist()
    if count >= len(sizes):
        assert min(counts) >= 1
    fraction = count / len(labels)
    if fraction <= 1 and min(sizes) * fraction >= 1:
        assert all(abs(found - fraction * size) < 1 for found, size in zip(counts, sizes, strict=True))


def test_a_sample_follows_its_seed_and_is_not_the_front_of_a_class() -> None:
    labels = torch.arange(1000) // 100
    again = [stratified_sample(labels, 50, seed) for seed in (1, 1, 2)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])
    for label in range(10):
        within = again[0][labels[again[0]] == label] % 100
        assert len(within) == 5
        assert int(within.max()) >= 20
