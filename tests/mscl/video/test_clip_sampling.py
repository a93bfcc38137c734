"""Two views and clip indices (METHOD 1.3, D4)."""

import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscl.errors import DataError
from mscl.pretrain.two_starts import ChosenStarts, nearest_start, two_starts
from mscl.video.clip_indices import clip_indices, epoch_rng, even_starts, part_indices, sample_rng
from tests.mscl.marked_stores import chosen_starts

starts_lists = st.lists(st.integers(0, 300), min_size=1, max_size=40, unique=True).map(sorted)


def test_nearest_start_where_the_released_code_errs() -> None:
    assert nearest_start(np.array([10, 100]), 53) == 10  # released: 100
    assert nearest_start(np.array([10, 100]), 55) == 10  # equally near: the smaller
    assert nearest_start(np.array([10, 100]), 56) == 100
    assert nearest_start(np.array([10, 100]), -9) == 10  # released: 0, which is not chosen
    assert nearest_start(np.array([10, 100]), 500) == 100


@given(starts_lists, st.integers(-100, 400))
def test_nearest_start_is_nearest(starts: list[int], target: int) -> None:
    got = nearest_start(np.array(starts), target)
    assert got in starts
    assert abs(got - target) == min(abs(s - target) for s in starts)


@given(starts_lists, st.integers(1, 400), st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**32))
def test_two_starts_are_chosen(starts: list[int], num_fields: int, length: int, stride: int, seed: int) -> None:
    o1, o2 = two_starts(np.array(starts), num_fields, length=length, stride=stride, rng=np.random.default_rng(seed))
    assert o1 in starts and o2 in starts
    assert o1 <= max(num_fields - length * stride, 0) or o1 == starts[0]
    # o2 is nearest to a point within L * s of o1, so it is at most L * s away from o1, which is chosen itself.
    assert abs(o2 - o1) <= 2 * length * stride


def test_two_starts_without_chosen_starts() -> None:
    assert two_starts(np.zeros(0, dtype=np.int64), 50, length=8, stride=2, rng=np.random.default_rng(0)) == (0, 0)


def test_first_start_is_uniform_over_chosen_candidates() -> None:
    chosen = np.arange(0, 37, 2)
    rng = np.random.default_rng(0)
    draws = [two_starts(chosen, 100, length=8, stride=8, rng=rng)[0] for _ in range(4000)]
    counts = np.bincount(draws, minlength=37)[::2]
    # 19 candidates in 0..36; eleven misses at odds 18/37 each put .04% more on the first.
    assert counts.sum() == 4000
    assert np.abs(counts - 4000 / 19).max() < 5 * np.sqrt(4000 / 19)


def test_randomness_is_consumed_alike_on_every_path() -> None:
    after = []
    for chosen in ([], [0], [3, 50]):
        rng = np.random.default_rng(5)
        two_starts(np.array(chosen, dtype=np.int64), 100, length=8, stride=4, rng=rng)
        after.append(rng.random())
    assert len(set(after)) == 1


def test_clip_indices_wrap() -> None:
    np.testing.assert_array_equal(clip_indices(5, length=8, stride=8, num_indices=20), [5, 13, 1, 9, 17, 5, 13, 1])


@given(st.integers(1, 300), st.integers(1, 12), st.integers(1, 16), st.integers(1, 10))
def test_even_starts_are_ordered_and_inside(num_indices: int, clips: int, length: int, stride: int) -> None:
    starts = even_starts(num_indices, clips=clips, length=length, stride=stride)
    span = (length - 1) * stride + 1
    assert len(starts) == clips
    assert (np.diff(starts) >= 0).all()
    assert starts[0] >= 0 and starts[-1] < num_indices
    if num_indices >= span:
        assert starts[-1] + span <= num_indices
        if clips > 1:
            assert starts[0] == 0 and starts[-1] + span == num_indices


@given(st.integers(1, 300), st.integers(1, 20), st.floats(0, 1, exclude_max=True))
def test_parts_hold_one_index_each(num_indices: int, parts: int, offset: float) -> None:
    indices = part_indices(num_indices, parts=parts, offsets=np.array(offset))
    assert len(indices) == parts and indices.min() >= 0 and indices.max() < num_indices
    if num_indices % parts == 0:
        np.testing.assert_array_equal(indices // (num_indices // parts), np.arange(parts))


def test_centres_of_parts() -> None:
    np.testing.assert_array_equal(part_indices(32, parts=4, offsets=np.array(0.5)), [4, 12, 20, 28])


def test_chosen_starts_of_every_segment() -> None:
    lists = [[3, 7], [], [0], [], [5, 6, 9]]
    chunked = pa.chunked_array([pa.array(lists[:2], pa.list_(pa.int32())), pa.array(lists[2:], pa.list_(pa.int32()))])
    table = ChosenStarts.from_arrow(chunked)
    assert len(table) == 5
    np.testing.assert_array_equal(table.segments(), [0, 2, 4])
    for row, expected in enumerate(lists):
        np.testing.assert_array_equal(table.of(row), expected)


@pytest.mark.parametrize("lists", [[[3, 3]], [[5, 2]], [[-1]], [[1], [4, 1]]])
def test_chosen_starts_must_ascend(lists: list[list[int]]) -> None:
    with pytest.raises(DataError, match="ascending"):
        chosen_starts(lists)


def test_streams_of_samples_and_epochs_differ() -> None:
    firsts = {
        float(rng.random())
        for rng in (
            sample_rng(0, 0, 0), sample_rng(0, 0, 1), sample_rng(0, 1, 0), sample_rng(1, 0, 0),
            epoch_rng(0, 0), epoch_rng(0, 1), epoch_rng(1, 0),
        )
    }  # fmt: skip
    assert len(firsts) == 7


def test_a_hundred_thousand_segments_open_in_a_moment() -> None:
    column = pa.chunked_array([pa.array([[1, 5, 9]] * 100_000, pa.list_(pa.int32()))])
    begin = time.perf_counter()
    starts = ChosenStarts.from_arrow(column)
    assert len(starts.segments()) == 100_000
    assert time.perf_counter() - begin < 0.5
