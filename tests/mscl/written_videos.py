"""Small videos with known frames."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from mscl.config import DecodeLimits
from mscl.video.decoding import decode

WriteVideo = Callable[..., Path]


def gradient_frames(number: int, *, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Frames (N, H, W, 3) that are told apart by their mean and whose four corners differ."""
    frames = np.zeros((number, height, width, 3), np.uint8)
    frames[..., 0] = np.linspace(0, 200, width)[None, None]
    frames[..., 1] = np.linspace(0, 200, height)[None, :, None]
    frames[..., 2] = np.linspace(20, 230, number)[:, None, None]
    return frames


def write_frames(
    path: Path, frames: NDArray[np.uint8] | int = 12, *, codec: str = "libx264", pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """Encode frames (N, H, W, 3), or so many gradient frames; returns the path."""
    pictures = gradient_frames(frames) if isinstance(frames, int) else frames
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = pix_fmt
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@dataclass(frozen=True)
class ReadVideo:
    """All frames of a video, and how their decoding ended."""

    frames_NHW3: NDArray[np.uint8]
    fps: float
    rotation: int
    verdict: str


def read_frames(path: Path, *, limits: DecodeLimits, short_side: int | None = None) -> ReadVideo:
    """The whole video, decoded as stages decode it."""
    decoding = decode(path, limits=limits, short_side=short_side)
    return ReadVideo(np.stack(list(decoding)), decoding.fps, decoding.rotation, decoding.verdict)
