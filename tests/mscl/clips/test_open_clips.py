"""Clips of a small workspace as a dataset of PyTorch: what an item holds, where it is from, batches of workers."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import mscl
from mscl.errors import USER_ERRORS
from mscl.video.normalise import normalise_rgb
from storage.workspace import Workspace
from tests.mscl.marked_stores import HEIGHT, WIDTH, marked_field, marked_frame
from tests.mscl.screened_workspace import HOSTILE, NUM_FIELDS, chosen, clip_scores, screened_workspace


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return screened_workspace(tmp_path_factory.mktemp("clips") / "w")


def test_a_clip_is_of_its_segment_and_start(place: Workspace) -> None:
    clips = mscl.open_clips(place)
    wanted = [(segment, start) for segment in range(4) for start in chosen(segment)]
    assert list(zip(clips.segments_N.tolist(), clips.starts_N.tolist(), strict=True)) == wanted
    for clip, (segment, start) in zip((clips[n] for n in range(len(clips))), wanted, strict=True):
        indices = [start, start + 2, start + 4, start + 6]
        assert clip["frames"].shape == (3, 4, HEIGHT, WIDTH) and clip["frames"].dtype == torch.uint8
        true_frames = np.stack([marked_frame(segment, i) for i in indices]).transpose(3, 0, 1, 2)
        assert np.abs(clip["frames"].numpy().astype(int) - true_frames).mean() < 2  # JPEG
        true_flow = np.stack([marked_field(i) for i in indices]).transpose(3, 0, 1, 2)
        np.testing.assert_allclose(clip["flow"].numpy(), true_flow, atol=1 / 32)
        assert (clip["segment"], clip["start"]) == (segment, start)
        assert clip["clip_score"] == clip_scores(segment)[start]
    second = clips[len(chosen(0))]
    assert second["video"] == "pan/a.mp4" and second["class_name"] == "pan" and second["label"] == 0
    assert second["start_frame"] == 32 + 2 * second["start"] and second["start_seconds"] == second["start_frame"] / 25
    assert second["motion"]["mean_px"] == pytest.approx(3) and second["motion"]["peak_px"] == pytest.approx(8)
    assert clips[-1]["video"] == HOSTILE
    assert len(mscl.open_clips(str(place.root))) == len(clips)  # the folder will do
    with pytest.raises(IndexError):
        clips[len(clips)]
    with pytest.raises(TypeError, match="'slice' object cannot be interpreted as an integer"):
        clips[:2]  # type: ignore[index]


def test_split_starts_and_size(place: Workspace) -> None:
    test = mscl.open_clips(place, "4444", split="test", starts="all", side_px=20, normalise=True)
    assert len(test) == sum(count - 6 for count in NUM_FIELDS[2:])  # whatever the screen says
    plain = mscl.open_clips(place, split="test", starts="all", side_px=HEIGHT)[0]
    np.testing.assert_allclose(plain["flow"], mscl.open_clips(place, split="test", starts="all")[0]["flow"][..., 8:48])
    small = test[0]
    assert small["frames"].shape == (3, 4, 20, 20) and small["flow"].shape == (2, 4, 20, 20)
    # Half the side, half the vector: of neighbouring px 2 x and 2 x + 1 the mean.
    half = plain["flow"].unflatten(2, (20, 2)).unflatten(4, (20, 2)).mean(dim=(3, 5)) / 2
    np.testing.assert_allclose(small["flow"], half, atol=1e-5)
    whole = mscl.open_clips(place, split="test", starts="all", normalise=True, flow=False)[0]
    raw = mscl.open_clips(place, split="test", starts="all")[0]["frames"]
    assert torch.equal(whole["frames"], normalise_rgb(raw.permute(1, 2, 3, 0)[None])[0]) and "flow" not in whole
    other = mscl.open_clips(place, starts="all", length=3, stride=1)
    assert len(other) == sum(count - 2 for count in NUM_FIELDS) and math.isnan(other[0]["clip_score"])


def test_batches_of_workers_are_those_of_this_process(place: Workspace) -> None:
    clips = mscl.open_clips(place, side_px=16)
    assert torch.equal(pickle.loads(pickle.dumps(clips))[3]["flow"], clips[3]["flow"])
    here, there = (
        list(DataLoader(clips, batch_size=4, num_workers=workers, multiprocessing_context=how))
        for workers, how in ((0, None), (1, "fork"))
    )
    assert here[0]["frames"].shape == (4, 3, 4, 16, 16) and here[0]["motion"]["change"].shape == (4,)
    for mine, theirs in zip(here, there, strict=True):
        assert torch.equal(mine["frames"], theirs["frames"]) and torch.equal(mine["flow"], theirs["flow"])
        assert mine["video"] == theirs["video"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"split": "tset"}, "no segment is of split 'tset'; there are test, train"),
        ({"starts": "first"}, "starts 'first': give chosen or all"),
        ({"length": 8}, "chose starts of clips of 4 with stride 2, not of 8 with stride 2"),
        ({"length": 0}, "length 0: give a whole number, 1 or more"),
        ({"side_px": 47.5}, "side_px 47.5: give a whole number"),
        ({"starts": "all", "length": 40}, "none of 4 segments has a clip of 40 with stride 2"),
        ({"key": "3333"}, "motion 3333333333333333 was not made from a result of screen"),
        ({"key": "7777"}, "7777"),
    ],
)
def test_what_is_not_there_is_said(place: Workspace, asked: dict[str, object], says: str) -> None:
    with pytest.raises(USER_ERRORS, match=says):
        mscl.open_clips(place, **asked)


def test_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(USER_ERRORS, match="no finished result of screen"):
        mscl.open_clips(Workspace(tmp_path))
