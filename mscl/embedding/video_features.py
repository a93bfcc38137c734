"""Features of video files that are in no store."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mscl.errors import DataError
from mscl.video.config import ClipConfig, DecodeLimits

if TYPE_CHECKING:
    from mscl.models.encoders import VideoEncoder


@dataclass(frozen=True)
class Embedded:
    """Features of the videos that could be read, and why the others could not."""

    videos: list[Path]
    features_ND: npt.NDArray[np.float32]
    """A row per video of `videos`, the L4 global average, mean over the video's clips (METHOD 1.8)."""
    failed: dict[Path, str] = field(default_factory=dict)
    """Video -> reason."""


def embed(
    videos: Iterable[str | PathLike[str]],
    encoder: "VideoEncoder",
    *,
    clips: int = 10,
    clip: ClipConfig | None = None,
    gap_frames: int = 2,
    span_frames: int = 8,
    crop_px: int = 112,
    crops: int = 1,
    stored_px: int = 128,
    computed_px: int = 256,
    jpeg_quality: int = 90,
    limits: DecodeLimits | None = None,
) -> Embedded:
    """Features of video files, decoded while the encoder works; on the device where the encoder is.

    The defaults are the paper's; an encoder trained otherwise needs the settings of its run.

    Args:
        videos: files.
        encoder: from `load_encoder`.
        clips: evenly spaced clips per video, averaged.
        clip: length and stride of a clip in index units; None: 8 and 8.
        gap_frames: source frames per index unit.
        span_frames: source frames that a flow field spans; no clip reaches beyond the last field.
        crop_px: centre crop, after the short side was resized to 8/7 of it.
        crops: 1, the centre, or 3 along the longer side; features are averaged over clips and crops.
        stored_px: short side of the frames that the encoder learnt from.
        computed_px: short side at which flow was computed: the frames were shrunk to it first.
        jpeg_quality: of the frames that the encoder learnt from.
        limits: of the decoder.

    Raises:
        DataError: features that are not finite: the encoder is damaged.
    """
    import torch

    from mscl.video.file_clips import each_file, file_clips
    from mscl.video.normalise import normalise_rgb

    clip = clip or ClipConfig()
    device = next(encoder.parameters()).device
    read = partial(
        file_clips, clips=clips, length=clip.length, stride=clip.stride, gap_frames=gap_frames,
        span_frames=span_frames, crop_px=crop_px, crops=crops, stored_px=stored_px, computed_px=computed_px,
        jpeg_quality=jpeg_quality, limits=limits,
    )  # fmt: skip
    was_training = encoder.training
    encoder = encoder.to(memory_format=torch.channels_last_3d).eval()
    done: list[Path] = []
    features: list[npt.NDArray[np.float32]] = []
    failed: dict[Path, str] = {}
    try:
        with torch.inference_mode():
            for path, found in each_file([Path(video) for video in videos], read):
                if isinstance(found, Exception):
                    failed[path] = str(found)
                    continue
                rgb_K3THW = normalise_rgb(torch.from_numpy(found).to(device))
                features_KD = encoder(rgb_K3THW.contiguous(memory_format=torch.channels_last_3d))
                features_D = features_KD.mean(dim=0).float().cpu().numpy()
                if not np.isfinite(features_D).all():
                    raise DataError(f"the features of {path} are not finite; the encoder comes from a training that "
                                    "diverged")  # fmt: skip
                done.append(path)
                features.append(features_D)
    finally:
        encoder.train(was_training)
    empty = np.empty((0, encoder.feature_dim), np.float32)
    return Embedded(done, np.stack(features) if features else empty, failed)
