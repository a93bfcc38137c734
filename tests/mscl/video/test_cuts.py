"""Cuts are found to the frame, fades in their middle, and nothing in shaking, flashing or dimming."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from av import VideoFrame
from numpy.typing import NDArray

import mscl.video.cuts
from mscl.config import DecodeLimits
from mscl.video.cuts import CutFinder
from mscl.video.segments import shots
from mscl.video.video_info import inspect_video
from tests.mscl.written_videos import write_frames

Frames = NDArray[np.uint8]


def shot(seed: int, count: int, *, shake_px: int = 1) -> Frames:
    """Frames (N, 48, 64, 3) of a scene with detail of every size, as a hand would hold a camera before it."""
    rng = np.random.default_rng(seed)
    sizes = ((3, 4, 60), (6, 8, 40), (12, 16, 30), (24, 32, 20), (48, 64, 15))
    detail = [cv2.resize(rng.normal(0, spread, (h, w, 3)), (128, 96)) for h, w, spread in sizes]
    scene = np.clip(np.sum(detail, axis=0) + 128, 20, 235).astype(np.uint8)
    places = np.clip(np.cumsum(rng.integers(-shake_px, shake_px + 1, (count, 2)), axis=0) + 24, 0, 48)
    return np.stack([scene[y : y + 48, x : x + 64] for y, x in places])


def cuts_of(frames: NDArray[np.floating] | Frames) -> list[int]:
    finder = CutFinder()
    for frame in np.asarray(frames).round().astype(np.uint8):
        finder.add(VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
    return finder.cuts()


def mixed(first: Frames, second: Frames, count: int) -> NDArray[np.floating]:
    """`first` dissolves into `second` within `count` frames."""
    share = ((np.arange(count) + 1) / (count + 1))[:, None, None, None]
    both = first[-count:] * (1 - share) + second[:count] * share
    return np.concatenate([first[:-count], both, second[count:]])


def test_cuts_are_found_to_the_frame() -> None:
    frames = np.concatenate([shot(0, 30), shot(1, 9), shot(2, 40)])
    assert cuts_of(frames) == [30, 39]
    assert shots(79, [30, 39]) == [(0, 30), (30, 9), (39, 40)]
    assert shots(5, []) == [(0, 5)]


@pytest.mark.parametrize("count", [6, 12, 24])
def test_a_fade_is_one_cut_in_its_middle(count: int) -> None:
    frames = mixed(shot(0, 50, shake_px=0), shot(1, 50, shake_px=0), count)
    (found,) = cuts_of(frames)
    assert abs(found - (50 - count // 2)) <= 2


@pytest.mark.parametrize(("seed", "shake_px", "count"), [(10, 1, 24), (10, 2, 6), (8, 2, 12), (14, 2, 24)])
def test_a_fade_between_moving_shots_is_found(seed: int, shake_px: int, count: int) -> None:
    frames = mixed(shot(seed, 50, shake_px=shake_px), shot(seed + 1, 50, shake_px=shake_px), count)
    (found,) = cuts_of(frames)
    assert abs(found - (50 - count // 2)) <= count // 2


def test_shaking_flashes_and_changes_of_light_are_no_cuts() -> None:
    held = shot(0, 90)
    assert cuts_of(held) == []
    flashing = held.copy()
    flashing[::10] = 250
    flashing[5::10] = np.minimum(held[5::10], 235) + 20
    flashing[61:64] = 255
    assert cuts_of(flashing) == []
    assert cuts_of(held * np.linspace(0.4, 1, 90)[:, None, None, None]) == []
    assert cuts_of(held[:0]) == cuts_of(held[:1]) == cuts_of(held[:3]) == []


def test_a_video_is_looked_at_in_parts_with_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.concatenate([shot(seed, count) for seed, count in ((0, 70), (1, 33), (2, 20), (3, 64), (4, 40))])
    path = write_frames(tmp_path / "joined.mkv", frames, options={"crf": "10"})
    info = inspect_video(path, limits=DecodeLimits())
    assert info.cuts == [70, 103, 123, 187]
    monkeypatch.setattr(mscl.video.cuts, "_BLOCK", 40)
    assert inspect_video(path, limits=DecodeLimits()).cuts == info.cuts
    other = write_frames(tmp_path / "joined.avi", frames, codec="mjpeg", pix_fmt="yuvj444p", options={"qscale": "2"})
    assert inspect_video(other, limits=DecodeLimits()).cuts == info.cuts
    assert CutFinder().cuts() == []
