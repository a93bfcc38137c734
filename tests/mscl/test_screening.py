"""Clip scores and chosen starts: golden vectors, then what can be counted by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscl.screening import chosen_starts, clip_scores


def test_chosen_starts_golden(shared_dir: Path) -> None:
    from kernels.motion import field_differences

    golden = np.load(shared_dir / "golden" / "motion.npz")
    keys = [key for key in golden.files if key.startswith("chosen__")]
    assert len(keys) == 30
    differences: dict[tuple[str, str, str], np.ndarray] = {}
    for key in keys:
        _, weight, attention, pool, clip = key.split("__")
        length, stride = (int(part[3:] if part.startswith("len") else part[6:]) for part in clip.split("_"))
        case = (weight, attention, pool)
        if case not in differences:
            differences[case] = field_differences(
                golden["flows"],
                weight=weight,
                attention=attention,
                pool=pool,
                window_px=28,
            )
        scores = clip_scores(differences[case], length=length, stride=stride, released=True)
        np.testing.assert_array_equal(chosen_starts(scores), golden[key], err_msg=key)


def test_scores_by_hand() -> None:
    d = [1.0, 2.0, 3.0, 4.0, 0.0]
    np.testing.assert_allclose(clip_scores(d, length=2, stride=2), [2.0, 3.0, 1.5])
    np.testing.assert_allclose(clip_scores(d, length=2, stride=2, released=True), [2.0, 3.0, 1.5, 2.0, 0.0])


def test_d17_clips_past_the_end_are_no_candidates() -> None:
    d = np.ones(24)
    assert clip_scores(d, length=8, stride=4).size == 0
    assert clip_scores(d, length=8, stride=4, released=True).size == 24
    # Released: a uniformly moving video "chooses" its beginning, because clips near the end lose terms.
    assert chosen_starts(clip_scores(d, length=8, stride=4, released=True)).tolist() == list(range(12))
    assert chosen_starts(clip_scores(d, length=8, stride=2)).size == 0


def test_d18_a_still_video_chooses_nothing_and_is_no_error() -> None:
    assert chosen_starts(clip_scores(np.zeros(30), length=8, stride=1)).size == 0
    assert chosen_starts([]).dtype == np.int64


def test_fill_values_are_refused() -> None:
    with pytest.raises(ValueError, match="2 not finite"):
        clip_scores([1.0, np.nan, np.nan], length=1, stride=1)


@given(
    st.lists(st.floats(0, 10), max_size=60),
    st.integers(1, 9),
    st.integers(1, 9),
    st.booleans(),
)
def test_scores_are_means_of_the_clip(d: list[float], length: int, stride: int, released: bool) -> None:
    scores = clip_scores(d, length=length, stride=stride, released=released)
    assert scores.size == (len(d) if released else max(len(d) - (length - 1) * stride, 0))
    for j, score in enumerate(scores):
        clip = [d[j + n * stride] for n in range(length) if j + n * stride < len(d)]
        assert score == pytest.approx(sum(clip) / length)
    chosen = chosen_starts(scores)
    assert chosen.size <= scores.size // 2
    assert all(scores[j] > np.median(scores) for j in chosen)
