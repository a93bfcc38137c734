"""Clips of video files that are in no store: the frames and the pixels that the stores would hold."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from mscl.demo.dataset import encode_h264
from mscl.extract.config import FlowConfig
from mscl.video import file_clips as video_files
from mscl.video.config import DecodeLimits
from mscl.video.decoding import decode
from mscl.video.file_clips import Clips, each_file, file_clips, middle_clip
from mscl.video.frame_recipe import EncoderInput
from mscl.video.opening import VideoError
from mscl.video.segments import segment_bounds, shot_segments
from mscl.video.stored_size import shrunk, stored_size
from mscl.video.video_info import inspect_video
from storage.frame_store import encode_jpeg
from tests.mscl.encoder_inputs import encoder_input
from tests.mscl.video.test_cuts import shot
from tests.mscl.written_videos import write_frames


def only_segment(path: Path, settings: EncoderInput) -> Clips:
    """(K, T, H, H, 3)."""
    (clips,) = file_clips(path, settings)
    return clips


def frame_numbers(clips_KTHW3: Clips) -> list[list[int]]:
    """Which frames of `brightening` are shown."""
    levels: list[list[int]] = np.rint((clips_KTHW3.mean(axis=(2, 3, 4)) - 20) / 4).astype(int).tolist()
    return levels


@pytest.fixture(scope="module")
def brightening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames, 25 a second; the number of each is its brightness."""
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    encode_h264(path, (np.full((32, 48, 3), 20 + 4 * n, np.uint8) for n in range(40)), fps=25, height=32, width=48)
    return path


def test_clips_hold_every_second_frame_in_order(brightening: Path) -> None:
    clips = only_segment(brightening, encoder_input(gap_frames=2, stride=3))
    assert clips.shape == (1, 4, 24, 24, 3)
    # 20 indices; a clip spans 10, so it starts at 5 and reads 5, 8, 11, 14, that is frames 10, 16, 22, 28.
    assert frame_numbers(clips) == [[10, 16, 22, 28]]


def test_segments_that_hold_no_whole_clip_are_told() -> None:
    clips = encoder_input(gap_frames=2, stride=3)  # of 4 indices, so 10 of every second frame
    last = 18 + clips.recipe.span_frames
    assert clips.recipe.num_indices(last) == 9 and clips.recipe.num_indices(last + 1) == 10
    assert clips.too_short([last + 1, 100]) == ""
    said = "1 of 2 segments are shorter than a clip, which takes 10 frames 2 apart: clips of them begin again at the"
    assert clips.too_short([last, 100]).startswith(said)
    spread = clips.model_copy(update={"sampling": "segments"})
    assert spread.too_short([last]) == "" and "4 frames 2 apart: clips of them show frames" in spread.too_short([2])


def test_no_clip_shows_a_frame_at_which_no_field_begins(brightening: Path) -> None:
    clips = only_segment(brightening, encoder_input(clips=2, span_frames=8, stride=2))
    assert frame_numbers(clips) == [[0, 2, 4, 6], [25, 27, 29, 31]]  # fields begin at 0 to 31


def test_frames_are_those_that_extraction_would_store(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    draws = np.random.default_rng(0)
    encode_h264(path, (draws.integers(0, 255, (60, 80, 3), np.uint8) for _ in range(10)), fps=25, height=60, width=80)
    settings = encoder_input(stride=2, crop_px=16, short_side_px=16, stored_px=16, computed_px=32, jpeg_quality=75)
    clip = only_segment(path, settings)[0]
    # 43 x 32 px at first: stored with the video's own aspect it is 21 px wide, with that of the copy it would be 22.
    height, width = stored_size(60, 80, 16)
    assert (height, width) == (16, 21)
    frames = list(decode(path, limits=DecodeLimits(), short_side=32))
    assert frames[0].shape == (32, 43, 3)
    small = [shrunk(frame, height, width) for frame in frames]
    averaged = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
    assert np.abs(np.stack(small).astype(float) - np.stack(averaged)).mean() < 5  # noise of 74 grey levels; no alias
    stored = [simplejpeg.decode_jpeg(encode_jpeg(frame, quality=75), colorspace="RGB") for frame in small]
    # Nine indices: a clip of four, two apart, starts at 1; its centre is cut from columns 2 or 3 on.
    expected = [[stored[index][:, left : left + 16] for index in (1, 3, 5, 7)] for left in (2, 3)]
    assert any(np.array_equal(clip, np.stack(one)) for one in expected)


@pytest.mark.parametrize("gap_frames", [1, 3])
def test_a_long_video_gives_the_clips_of_each_of_its_segments(
    brightening: Path, monkeypatch: pytest.MonkeyPatch, gap_frames: int
) -> None:
    """Also where its frames do not all stay in memory, and where a segment begins between two kept frames."""
    settings = encoder_input(clips=2, length=2, gap_frames=gap_frames, max_segment_seconds=0.6)
    bounds = segment_bounds(40, fps=25, max_seconds=0.6, min_frames=2)
    assert bounds == [(0, 13), (13, 13), (26, 14)]
    expected = []
    for first, count in bounds:
        last = first + gap_frames * (-(-(count - 1) // gap_frames) - 1)  # the last frame at which a field begins
        expected.append([[first, first + gap_frames], [last - gap_frames, last]])
    for kept in (2000, 7):
        monkeypatch.setattr(video_files, "_KEPT_FRAMES", kept)
        assert [frame_numbers(clips) for clips in file_clips(brightening, settings)] == expected


def test_segments_are_those_of_the_pipeline(tmp_path: Path) -> None:
    """They end at cuts, and a shot too short for its fields is left out, though the clips need none."""
    frames = [frame for number, count in enumerate((30, 8, 30)) for frame in shot(number, count)]
    path = write_frames(tmp_path / "cut.mp4", np.stack(frames))
    info = inspect_video(path, limits=DecodeLimits())
    assert info.cuts == [30, 38]
    settings = encoder_input(length=1, span_frames=0, max_segment_seconds=0.1, min_segment_frames=9, cuts="split")
    stored = shot_segments(68, info.cuts, fps=25, max_seconds=0.1, min_frames=9)
    assert [count for _, count in stored] == [10, 10, 10, 8, 10, 10, 10]
    assert len(list(file_clips(path, settings))) == 6
    assert len(list(file_clips(path, settings.model_copy(update={"cuts": "ignore"})))) == 7
    assert len(list(file_clips(path, settings.model_copy(update={"min_segment_frames": 31})))) == 1


def test_the_middle_clip_is_that_of_the_whole_video(brightening: Path) -> None:
    settings = encoder_input(stride=2, crops=3, max_segment_seconds=0.6)
    assert frame_numbers(middle_clip(brightening, settings)[None]) == [[16, 18, 20, 22]]
    assert frame_numbers(middle_clip(brightening, settings, later=1)[None]) == [[17, 19, 21, 23]]


def test_a_bad_file_comes_as_its_error_and_the_others_go_on(brightening: Path, tmp_path: Path) -> None:
    broken = tmp_path / "b.mp4"
    broken.write_bytes(b"no video at all")
    paths = [brightening, broken, brightening]
    found = list(each_file(paths, lambda path: file_clips(path, encoder_input())))
    assert [path for path, _ in found] == paths
    assert [isinstance(value, VideoError) for _, value in found] == [False, True, False]


def test_a_single_frame_is_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "one.mp4"
    encode_h264(path, [np.full((32, 48, 3), 90, np.uint8)], fps=25, height=32, width=48)
    with pytest.raises(VideoError, match="1 frame, in which nothing moves"):
        file_clips(path, encoder_input())
    assert video_files.readable([path]) == ([], {path: "1 frame, 2 are needed"})


def test_a_video_that_is_cut_while_it_is_read_is_an_error_of_that_video(
    brightening: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_files, "_KEPT_FRAMES", 3)
    few = DecodeLimits(max_frames=20)
    segments = file_clips(brightening, encoder_input(length=2, max_segment_seconds=0.6))
    monkeypatch.setattr(video_files, "decode", lambda path, *, limits, **how: decode(path, limits=few, **how))
    with pytest.raises(VideoError, match="more than 20 frames"):
        list(segments)


def test_the_recipe_is_that_of_the_settings() -> None:
    recipe = FlowConfig(gap_frames=3, span_frames=5, compute_short_side=64, store_short_side=32, jpeg_quality=80).recipe
    assert recipe.model_dump() == {
        "gap_frames": 3, "span_frames": 5, "computed_px": 64, "stored_px": 32, "jpeg_quality": 80,
    }  # fmt: skip


def test_settings_that_differ_are_named_with_both_values() -> None:
    here, there = encoder_input(gap_frames=2, crop_px=40).differing(encoder_input(short_side_px=30, clips=3))
    assert here == "gap_frames 2, clips 1, crop_px 40, no short_side_px"
    assert there == "gap_frames 1, clips 3, crop_px 24, short_side_px 30"
    assert encoder_input(clips=2).differing(encoder_input(), trained=True) == ("", "")
