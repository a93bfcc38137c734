"""Labelled clips for fine-tuning and evaluation (METHOD 1.8)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mscl.errors import DataError
from mscl.training.loader import make_eval_loader, make_loader
from mscl.video.clips import EvalClips, LabelledBatch, TrainClips
from tests.mscl.marked_stores import Stores

ROWS, LABELS = np.array([10, 0, 4]), np.array([1, 0, 2])


def eval_clips(stores: Stores, **changes: object) -> EvalClips:
    settings: dict[str, object] = {"clips": 3, "length": 8, "stride": 2, "crop_px": 28}
    return EvalClips(stores.frames, rows=ROWS, labels=LABELS, **(settings | changes))  # type: ignore[arg-type]


def shown_indices(batch: LabelledBatch) -> np.ndarray:
    return np.rint(batch.rgb_BKTHW3[..., 2].float().mean((3, 4)).numpy() / 5).astype(int)


def test_eval_clips_are_even_and_in_order(stores: Stores) -> None:
    batch = eval_clips(stores).load(0, np.arange(3))
    assert batch.rgb_BKTHW3.shape == (3, 3, 8, 28, 28, 3)
    assert batch.label_B.tolist() == [1, 0, 2] and batch.segment_B.tolist() == [10, 0, 4]
    shown = shown_indices(batch)
    # 32 frames, span 15: starts 0, 8.5 -> 8, 17.
    np.testing.assert_array_equal(shown[0], np.array([[0], [8], [17]]) + 2 * np.arange(8))
    # 12 frames are shorter than the span: looped, from three phases.
    np.testing.assert_array_equal(shown[1], (np.array([[0], [4], [8]]) + 2 * np.arange(8)) % 12)


def test_centre_crop(stores: Stores) -> None:
    red = eval_clips(stores).load(0, np.array([0])).rgb_BKTHW3[0, 0, 0, :, :, 0].float().numpy()
    # 40x56 to short side 32 (28 * 8 / 7): 32x45, columns 8..35 of it.
    expected = ((np.arange(8, 36) + 0.5) * 56 / 45 + 0.5) / 56 * 255
    np.testing.assert_allclose(red.mean(0), expected, atol=3)


@pytest.mark.parametrize("shown", ["first", "middle", "last"])
def test_a_clip_that_stands_still_repeats_that_frame_of_the_video(stores: Stores, shown: str) -> None:
    still = shown_indices(eval_clips(stores, shown=shown).load(0, np.arange(3)))
    numbers = np.array([stores.num_fields[segment] for segment in (10, 0, 4)])
    frame = {"first": 0 * numbers, "middle": numbers // 2, "last": numbers - 1}[shown]
    assert still.shape == (3, 1, 8)
    np.testing.assert_array_equal(still, np.broadcast_to(frame[:, None, None], still.shape))


def test_shuffled_clips_have_the_frames_of_the_clips_in_an_order_of_their_own(stores: Stores) -> None:
    moving, shuffled = (
        shown_indices(eval_clips(stores, **control).load(0, np.arange(3))) for control in ({}, {"shown": "shuffled"})
    )
    np.testing.assert_array_equal(np.sort(shuffled), np.sort(moving))
    assert not (shuffled == moving).all(axis=2).any() and not np.array_equal(shuffled[0, 0], shuffled[0, 2] - 17)
    again = shown_indices(eval_clips(stores, shown="shuffled").load(3, np.array([0])))
    np.testing.assert_array_equal(again[0], shuffled[0])


def test_segment_sampling_takes_the_centres(stores: Stores) -> None:
    shown = shown_indices(eval_clips(stores, sampling="segments", clips=1).load(0, np.array([0])))
    np.testing.assert_array_equal(shown[0, 0], 2 + 4 * np.arange(8))
    two = shown_indices(eval_clips(stores, sampling="segments", clips=2).load(0, np.array([0])))
    np.testing.assert_array_equal(two[0], np.array([[1], [3]]) + 4 * np.arange(8))


def train_clips(stores: Stores, **changes: object) -> TrainClips:
    settings: dict[str, object] = {
        "length": 8, "stride": 2, "crop_px": 24, "area": (0.2, 1.0), "aspect": (0.75, 4 / 3),
        "flip": 0.0, "sampling": "segments", "seed": 0,
    }  # fmt: skip
    return TrainClips(stores.frames, rows=ROWS, labels=LABELS, **(settings | changes))  # type: ignore[arg-type]


def test_training_segments_are_one_frame_of_each_part(stores: Stores) -> None:
    dataset = train_clips(stores)
    seen = np.concatenate([shown_indices(dataset.load(epoch, np.array([0])))[0] for epoch in range(20)])
    np.testing.assert_array_equal(seen // 4, np.broadcast_to(np.arange(8), seen.shape))
    assert len(np.unique(seen % 4)) == 4


def test_training_clips_are_consecutive_and_random(stores: Stores) -> None:
    dataset = train_clips(stores, sampling="clip")
    seen = np.concatenate([shown_indices(dataset.load(epoch, np.array([0])))[0] for epoch in range(20)])
    assert (np.diff(seen, axis=1) == 2).all() and len(np.unique(seen[:, 0])) > 5


def test_flip_mirrors_the_same_crop(stores: Stores) -> None:
    plain, flipped = (train_clips(stores, flip=p).load(0, np.arange(3)).rgb_BKTHW3 for p in (0.0, 1.0))
    assert torch.equal(flipped, plain.flip(4))


def test_loaders_serve_both(stores: Stores) -> None:
    batches = list(make_eval_loader(eval_clips(stores), batch_size=2, workers=1))
    assert [b.segment_B.tolist() for b in batches] == [[10, 0], [4]]
    here, there = (
        list(make_loader(train_clips(stores), batch_size=3, start_step=0, total_steps=2, workers=w)) for w in (0, 1)
    )
    for first, second in zip(here, there, strict=True):
        assert torch.equal(first.rgb_BKTHW3, second.rgb_BKTHW3) and torch.equal(first.label_B, second.label_B)
    assert not torch.equal(here[0].segment_B, here[1].segment_B) or not torch.equal(
        here[0].rgb_BKTHW3, here[1].rgb_BKTHW3
    )


def test_refusals(stores: Stores, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 rows, 2 labels"):
        EvalClips(stores.frames, rows=ROWS, labels=LABELS[:2], clips=1, length=8, stride=1, crop_px=8)
    with pytest.raises(DataError, match=r"float32"):
        LabelledBatch(torch.zeros(1, 1, 8, 4, 4, 3), torch.zeros(1), torch.zeros(1))


def test_views_are_clips_times_crops(stores: Stores) -> None:
    three = eval_clips(stores, crops=3, clips=2).load(0, np.arange(3)).rgb_BKTHW3
    assert three.shape == (3, 6, 8, 28, 28, 3)
    one = eval_clips(stores, clips=2).load(0, np.arange(3)).rgb_BKTHW3
    # Left, centre, right of the first clip, then of the second.
    torch.testing.assert_close(three[:, 1::3], one, rtol=0, atol=0)
    red = three[0, :, 0, :, :, 0].float().mean((1, 2))
    assert red[0] < red[1] < red[2] and red[3] < red[4] < red[5]
