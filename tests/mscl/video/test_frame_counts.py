"""As many frames as the stream holds, of the right stream and shape; where fewer come out, the verdict says so.

Each kind on a file written here; the files that people reported, and ffmpeg's own counts, where they are at hand.
"""

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from mscl.config import DecodeLimits
from mscl.video.decode_pool import inspect_many
from mscl.video.decoding import decode
from mscl.video.video_info import VideoInfo, inspect_video
from tests.mscl.written_videos import WriteVideo, gradient_frames

LIMITS = DecodeLimits(timeout_seconds=120)


def inspect(path: Path) -> VideoInfo:
    return inspect_video(path, limits=LIMITS)


def moving_frames(number: int, *, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """Frames with much to code, so that packets are large enough to be damaged."""
    noise = np.random.default_rng(0).integers(0, 255, (height, width + 2 * number, 3), dtype=np.uint8)
    return np.stack([noise[:, 2 * n : 2 * n + width] for n in range(number)])


def write_after_sound(path: Path, num_frames: int, *, video: str, sound: str) -> Path:
    """A file whose stream 0 is sound."""
    with av.open(str(path), "w") as container:
        audio = container.add_stream(sound, rate=44100, layout="mono")
        pictures = container.add_stream(video, rate=25, width=64, height=48, pix_fmt="yuv420p")
        form = audio.codec_context.format.name
        samples = np.zeros((1, 1152), np.float32 if "flt" in form else np.int16)
        for _ in range(max(1, num_frames * 1764 // 1152)):
            frame = av.AudioFrame.from_ndarray(samples, format=form, layout="mono")
            frame.sample_rate = 44100
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
        for picture in gradient_frames(num_frames):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(pictures.encode(None))
    return path


@pytest.mark.parametrize("num_frames", [2, 3, 50])
@pytest.mark.parametrize(
    ("name", "video", "sound"),
    [
        ("a.mp4", "libx264", "aac"), ("a.mkv", "libx264", "aac"), ("a.ts", "libx264", "aac"), ("a.avi", "mpeg4", "mp2"),
        ("a.mpg", "mpeg2video", "mp2"), ("a.flv", "libx264", "aac"),
    ],
)  # fmt: skip
def test_last_frames_come_where_sound_is_the_first_stream(
    tmp_path: Path, name: str, video: str, sound: str, num_frames: int
) -> None:
    info = inspect(write_after_sound(tmp_path / name, num_frames, video=video, sound=sound))
    assert (info.verdict, info.num_frames) == ("ok", num_frames), info


def damage(path: Path, *numbers: int, content: bytes, skipped_bytes: int = 0) -> Path:
    """Overwrite packets of an MP4 with `content` again and again, but for their first bytes."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for number in numbers:
        start, end = packets[number].pos + skipped_bytes, packets[number].pos + packets[number].size
        data[start:end] = (content * (end - start))[: end - start]
    damaged = path.with_name(f"damaged-{path.name}")
    damaged.write_bytes(data)
    return damaged


@pytest.mark.parametrize("number", [0, 10])
def test_the_decoder_goes_on_after_a_packet_that_it_refuses(write_video: WriteVideo, number: int) -> None:
    whole = write_video("a.mp4", moving_frames(30), options={"g": "1"})
    info = inspect(damage(whole, number, content=b"\xff"))
    assert (info.verdict, info.num_frames) == ("truncated", 29)
    assert "1 of 30 frames are lost: the decoder refuses 1 packet, the first: Invalid data" in info.reason


def test_frames_that_a_decoder_drops_without_an_error_are_missed(write_video: WriteVideo) -> None:
    options = {"x265-params": "log-level=error:keyint=10:min-keyint=10:bframes=0"}
    whole = write_video("a.mp4", moving_frames(50), codec="libx265", options=options)
    assert inspect(whole).verdict == "ok"
    info = inspect(damage(whole, 0, 10, content=b"\xff\x01", skipped_bytes=4))  # no length of a part is changed
    assert info.verdict == "truncated" and info.num_frames <= 48
    assert f"{50 - info.num_frames} of 50 frames are lost" in info.reason


def test_pictures_that_are_never_shown_are_not_lost(write_video: WriteVideo) -> None:
    options = {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}
    path = write_video("a.webm", moving_frames(80), codec="libvpx", options=options)
    with av.open(str(path)) as container:
        hidden = sum(not bytes(packet)[0] & 0x10 for packet in container.demux(video=0) if packet.size)
    info = inspect(path)
    assert (info.verdict, info.num_frames, info.reason) == ("ok", 80, ""), (hidden, info)


def test_an_avi_with_skipped_frames_is_whole(tmp_path: Path) -> None:
    """As screen recorders write it: the header counts the skipped frames, too."""
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25, width=64, height=48, pix_fmt="yuvj420p")
        for number, picture in enumerate(gradient_frames(34)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = 3 * number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 100
    info = inspect(path)
    assert (info.verdict, info.num_frames) == ("ok", 34), info
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert inspect(path).verdict == "truncated"


def write_two_streams(path: Path, sizes: list[tuple[int, int, int]], *, default: int | None = None) -> Path:
    """A file of several picture streams, each (frames, height, width)."""
    with av.open(str(path), "w") as container:
        streams = []
        for place, (_, height, width) in enumerate(sizes):
            stream = container.add_stream("libx264", rate=25, width=width, height=height, pix_fmt="yuv420p")
            if default is not None:
                stream.disposition = av.stream.Disposition.default if place == default else av.stream.Disposition(0)
            streams.append(stream)
        for stream, (number, height, width) in zip(streams, sizes, strict=True):
            for picture in gradient_frames(number, height=height, width=width):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_of_several_picture_streams_the_film_is_taken(tmp_path: Path, name: str) -> None:
    thumbnail_first = write_two_streams(tmp_path / name, [(1, 240, 320), (30, 48, 64)])
    info = inspect(thumbnail_first)
    assert (info.verdict, info.num_frames, info.width) == ("ok", 30, 64)
    flagged = write_two_streams(tmp_path / f"flagged-{name}", [(20, 48, 64), (20, 96, 128)], default=1)
    assert inspect(flagged).width == 128
    flagged = write_two_streams(tmp_path / f"first-{name}", [(20, 48, 64), (20, 96, 128)], default=0)
    assert inspect(flagged).width == 64


def write_with_aspect(path: Path, aspect: Fraction, codec: str = "libx264") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, width=64, height=48, pix_fmt="yuv420p")
        stream.codec_context.sample_aspect_ratio = aspect
        for picture in gradient_frames(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "aspect", "width"),
    [
        ("a.mp4", "libx264", Fraction(16, 9), 114), ("b.mkv", "libx264", Fraction(1, 2), 32),
        ("c.mkv", "libx264", Fraction(12, 11), 70), ("e.mp4", "mpeg4", Fraction(2, 1), 128),
        ("f.mkv", "libx264", Fraction(4096, 4083), 64),  # square but for rounding, as in UCF101
        ("g.mkv", "libx264", Fraction(200, 1), 64),  # no display's
    ],
)  # fmt: skip
def test_pictures_have_the_shape_in_which_they_are_displayed(
    tmp_path: Path, name: str, codec: str, aspect: Fraction, width: int
) -> None:
    path = write_with_aspect(tmp_path / name, aspect, codec)
    info = inspect(path)
    assert (info.height, info.width) == (48, width)
    assert next(iter(decode(path, limits=LIMITS))).shape == (48, width, 3)
    small = next(iter(decode(path, limits=LIMITS, short_side=24)))
    assert min(small.shape[:2]) == 24 and abs(small.shape[1] / small.shape[0] - width / 48) < 0.05


def test_what_people_reported(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "cases"
    if not folder.is_dir():
        pytest.skip("no data/cases beside the checkout")
    expected = {
        "audio_first/af_264.mkv": ("ok", 50, 128), "audio_first/audiofirst.mp4": ("ok", 50, 128),
        "damaged_packet/first_base.mp4": ("truncated", 38, 128),
        "damaged_packet/mid10_base.mp4": ("truncated", 49, 128),
        "avi_dropped_frames/drop_mpeg4.avi": ("ok", 34, 128), "second_video_stream/cover_noflag.mkv": ("ok", 50, 128),
        "anamorphic/sar.mp4": ("ok", 25, 128),
    }  # fmt: skip
    found = {name: inspect(folder / name) for name in expected}
    assert {name: (info.verdict, info.num_frames, info.width) for name, info in found.items()} == expected
    assert "12 of 50 frames are lost" in found["damaged_packet/first_base.mp4"].reason
    assert "1 of 50 frames are lost" in found["damaged_packet/mid10_base.mp4"].reason


def ffmpeg_frames(path: Path) -> int:
    """How many frames ffmpeg gives of the stream that FFmpeg calls the best."""
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            stream = container.streams.best("video")
            number = stream.index if stream is not None else -1
    except av.FFmpegError:
        return 0
    if number < 0:
        return 0
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-i", str(path), "-map", f"0:{number}",
               "-fps_mode", "passthrough", "-f", "framemd5", "-"]  # fmt: skip
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return sum(not line.startswith("#") for line in lines)


def compare_with_ffmpeg(paths: list[Path]) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    infos = inspect_many(paths, limits=LIMITS, workers=2)
    ours = {path.name: info.num_frames for path, info in zip(paths, infos, strict=True)}
    assert ours == {path.name: ffmpeg_frames(path) for path in paths}


def test_real_videos_give_as_many_frames_as_ffmpeg_gives(shared_dir: Path) -> None:
    videos = [path for path in sorted((shared_dir / "data" / "videos").rglob("*.*")) if path.suffix != ".csv"]
    compare_with_ffmpeg(videos[::25])


@pytest.mark.storm
@pytest.mark.timeout(1800)
def test_every_real_video_gives_as_many_frames_as_ffmpeg_gives(shared_dir: Path) -> None:
    data = shared_dir / "data"
    folders = (data / "videos", data / "hard_videos", data / "cases")
    files = [path for folder in folders for path in sorted(folder.rglob("*.*")) if path.is_file()]
    compare_with_ffmpeg([
        path for path in files
        if path.suffix not in (".csv", ".md", ".sh", ".txt", ".json") and "annotations" not in path.parts
    ])  # fmt: skip
