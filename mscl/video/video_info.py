"""What a whole video is: every frame decoded once, its verdict, size, rate, digest and cuts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from mscl.video.config import DecodeLimits
from mscl.video.cuts import CutFinder
from mscl.video.decoding import decode
from mscl.video.opening import Verdict, VideoError, checked_size_bytes, plain_message


@dataclass(frozen=True)
class VideoInfo:
    """What decoding the whole video found. Sizes are those of the picture as displayed, 0 where unknown."""

    verdict: Verdict
    reason: str = ""
    num_frames: int = 0
    """Frames that decode, not what the container promises."""
    fps: float = 0.0
    height: int = 0
    width: int = 0
    rotation: int = 0
    """Degrees (0, 90, 180, 270) that the coded picture is turned counter-clockwise to stand upright."""
    size_bytes: int = 0
    digest: str = ""
    """sha256 of the file; empty where it was not read."""
    cuts: list[int] = field(default_factory=list)
    """Frames with which another shot begins (`mscl.video.cuts`), or which follow a stretch without frames."""


def inspect_video(path: Path | str, *, limits: DecodeLimits, min_frames: int = 2, min_side_px: int = 1) -> VideoInfo:
    """Decode a whole video, in this process, and say what it is. Never raises for what is wrong with the file.

    Args:
        min_frames: fewer make the verdict `too_short`.
        min_side_px: a shorter side makes the verdict `too_small`.
    """
    path = Path(path)
    size_bytes, digest = 0, ""
    try:
        size_bytes = checked_size_bytes(path, limits)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        decoding = decode(path, limits=limits)
        cuts = CutFinder()
        decoding.count(cuts.add)
    except VideoError as error:
        return VideoInfo(error.verdict, error.reason, size_bytes=size_bytes, digest=digest)
    except OSError as error:
        return VideoInfo("unreadable", plain_message(error, path), size_bytes=size_bytes, digest=digest)
    verdict, reason = decoding.verdict, decoding.reason
    height, width = decoding.source_height, decoding.source_width
    if verdict in ("ok", "truncated") and decoding.num_frames < min_frames:
        few = f"{decoding.num_frames} frame{'s' * (decoding.num_frames != 1)}"
        reason = f"{few}, {min_frames} are needed" + (f"; {reason}" if reason else "")
        verdict = "too_short"
    elif verdict in ("ok", "truncated") and min(height, width) < min_side_px:
        verdict, reason = "too_small", f"{width}x{height} px, the shorter side must be at least {min_side_px}"
    return VideoInfo(
        verdict, reason, decoding.num_frames, decoding.fps, height, width, decoding.rotation, size_bytes, digest,
        decoding.cuts(cuts),
    )  # fmt: skip
