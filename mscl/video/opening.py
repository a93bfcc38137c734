"""Opening a video file: what is refused before a frame is decoded, and the stream that holds its pictures."""

import os
import stat
from pathlib import Path
from typing import Literal

import av
import av.stream
from av.container import InputContainer
from av.video.stream import VideoStream

from mscl.errors import DataError
from mscl.video.config import DecodeLimits

Verdict = Literal[
    "ok", "truncated", "unreadable", "no_video", "too_short", "too_small", "too_large",
    "timeout", "crashed", "duplicate", "missing",
]  # fmt: skip
"""`truncated` decodes partly; `crashed` took the decoder process with it; `duplicate` is found by the ingest stage."""

DEFAULT_FPS = 25.0
"""Where the container gives no frame rate, or an absurd one."""

_WITHOUT_TIMES = ("h264", "hevc", "vvc", "m4v", "mpegvideo")
"""Streams without a container: FFmpeg calls them 25 frames per second, and only the codec knows."""

_NO_DISPLAY = 5.0
"""No display's pixels are so many times as wide as high, or as high as wide."""

# Demuxers that read text or other files instead of the one file that was asked for.
_FORMATS_REFUSED = {"tty", "hls", "concat", "dash", "sdp", "image2", "lavfi"}


class VideoError(DataError):
    """A video of which not one frame can be had; `verdict` says why, the message tells it."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason


def checked_size_bytes(path: Path, limits: DecodeLimits) -> int:
    """Bytes of the file; VideoError where it is missing, no file, empty or too large."""
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise VideoError("missing", "no such file") from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError("unreadable", "not a regular file")
    check_bytes(status.st_size, limits)
    return status.st_size


def check_bytes(size_bytes: int, limits: DecodeLimits) -> None:
    """VideoError for a file that is empty, or larger than allowed."""
    if size_bytes == 0:
        raise VideoError("unreadable", "the file is empty")
    if size_bytes > limits.max_bytes:
        limit = f"the limit is {limits.max_bytes} (data.limits.max_bytes)"
        raise VideoError("too_large", f"{size_bytes} bytes, {limit}")


def open_video(path: Path, limits: DecodeLimits) -> InputContainer:
    """The file's container; VideoError where it cannot be opened or is a list of other files."""
    checked_size_bytes(path, limits)
    try:
        # `file:` and the white list keep names like "concat:..." and playlists from reaching other files or hosts.
        # Some real files carry metadata that is not UTF-8; nobody here reads it.
        container = av.open(f"file:{path}", metadata_errors="ignore", options={"protocol_whitelist": "file"})
    except MemoryError as error:
        raise VideoError("too_large", f"not enough memory to open it: {plain_message(error, path)}") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError("unreadable", plain_message(error, path)) from error
    refused = _FORMATS_REFUSED & set(container.format.name.split(","))
    if refused:
        container.close()
        raise VideoError("unreadable", f"{refused.pop()} is a list or text, no video file")
    return container


def picture_stream(container: InputContainer) -> VideoStream:
    """The stream that FFmpeg calls the best, cover pictures left out; VideoError where there is none.

    FFmpeg prefers the one flagged default, then the one with more pictures, then the higher bit rate.
    """
    films = [stream for stream in container.streams.video if not _is_cover(stream)]
    best = container.streams.best("video")
    for stream in films:
        if best is not None and stream.index == best.index:
            return stream
    if not films:
        raise VideoError("no_video", f"no video stream among {len(container.streams)} streams")
    return max(films, key=lambda stream: bool(stream.disposition & av.stream.Disposition.default))


def _is_cover(stream: VideoStream) -> bool:
    """A picture beside the film: flagged so, or said to be a single picture where others are more."""
    if stream.disposition & av.stream.Disposition.attached_pic:
        return True
    return stream.frames == 1 and any(other.frames > 1 for other in stream.container.streams.video)


def pixel_aspect(stream: VideoStream) -> float:
    """Width of a pixel over its height. 1 where it is unknown, is no display's, or is square but for rounding.

    Within 2 % a stretched picture would differ by a column or two: some encoders round the aspect of a resized video.
    """
    aspect = stream.sample_aspect_ratio
    value = float(aspect) if aspect else 1.0
    return value if _NO_DISPLAY > value > 1 / _NO_DISPLAY and abs(value - 1) > 0.02 else 1.0


def frame_rate(stream: VideoStream) -> float:
    """Frames per second as the container has it, DEFAULT_FPS where that cannot be."""
    rates = [stream.average_rate, stream.guessed_rate, stream.base_rate]
    if stream.container.format.name in _WITHOUT_TIMES:
        rates = rates[1:2]
    return next((float(rate) for rate in rates if rate and can_be_rate(float(rate))), DEFAULT_FPS)


def can_be_rate(fps: float) -> bool:
    """Whether videos have so many frames per second."""
    return 0.1 <= fps <= 1000


def check_pixels(width: int, height: int, limits: DecodeLimits) -> None:
    """VideoError for a picture of more pixels than allowed."""
    if width * height > limits.max_pixels:
        raise VideoError(
            "too_large", f"{width}x{height} px, the limit is {limits.max_pixels} pixels (data.limits.max_pixels)"
        )


def plain_message(error: BaseException, path: Path) -> str:
    """The library's message without its number and without the path, which depends on the machine."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).replace(str(path), path.name).strip()
