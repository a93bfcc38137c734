"""Features of video files that are in no store."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from mscl.array_types import Floats
from mscl.embedding.encoder_input import chosen_input
from mscl.errors import ConfigError, DataError, UserError
from mscl.video.config import ClipConfig, DecodeLimits
from mscl.video.frame_recipe import EncoderInput, FrameRecipe
from storage.user_paths import user_path

if TYPE_CHECKING:
    from torch import nn

    from mscl.models.outside_encoder import Encoder
    from mscl.training.config import Precision


@dataclass(frozen=True)
class Embedded:
    """Features of the videos that could be read, and why the others could not."""

    videos: list[Path]
    features_ND: Floats
    """A row per video of `videos`, the L4 global average, mean over the video's clips (METHOD 1.8)."""
    failed: dict[Path, str] = field(default_factory=dict)
    """Video -> reason."""


def embed(
    videos: str | PathLike[str] | Iterable[str | PathLike[str]],
    encoder: "Encoder",
    *,
    recipe: FrameRecipe | None = None,
    clip: ClipConfig | None = None,
    clips: int | None = None,
    crop_px: int | None = None,
    crops: Literal[1, 3] | None = None,
    precision: "Precision" = "auto",
    limits: DecodeLimits | None = None,
    **frames: int,
) -> Embedded:
    """Features of video files, decoded while the encoder works; on the device where the encoder is.

    An encoder from `load_encoder` says how its videos were prepared, and nothing else needs to be given: the features
    are those that the pipeline stores for these videos. A video that the pipeline cuts into several segments has the
    mean of their features. What is given all the same is taken, with a warning where the encoder says otherwise.

    Args:
        videos: files, or one.
        encoder: from `load_encoder`, in any float type; comes back as it was.
        recipe: how frames come out of a video.
        clip: length and stride of a clip in index units.
        clips: evenly spaced clips per segment of a video, averaged.
        crop_px: centre crop, after the short side was resized to 8/7 of it.
        crops: 1, the centre, or 3 along the longer side; features are averaged over clips and crops.
        precision: auto: on CUDA autocast to bf16, or fp16 on cards without it; fp32 on a CPU.
        limits: of the decoder.
        frames: single settings of the recipe, as in `gap_frames=1`.

    Raises:
        ConfigError: an unknown setting, or a value that does not fit.
        UserError: clips of a length or size that the encoder cannot take.
        StorageError: an address in place of a file.
        DataError: features that are not finite: the encoder is damaged.
    """
    from mscl.models.outside_encoder import ClipSettings, check_clip
    from mscl.training.config import Precision

    if not hasattr(encoder, "input"):  # which a compiled encoder has, too
        raise UserError(f"mscl.embed: the encoder is a {type(encoder).__name__}; give what mscl.load_encoder returns")
    if precision not in get_args(Precision):
        raise ConfigError(f"mscl.embed: precision {precision!r}; give one of {', '.join(get_args(Precision))}")
    if not isinstance(limits, DecodeLimits | None):
        raise ConfigError(f"mscl.embed: limits is a {type(limits).__name__}; give a mscl.config.DecodeLimits")
    if not isinstance(recipe, FrameRecipe | None):
        raise ConfigError(f"mscl.embed: recipe is a {type(recipe).__name__}; give an mscl.FrameRecipe, or its settings")
    asked = {"recipe": recipe, "clip": clip, "clips": clips, "crop_px": crop_px, "crops": crops}
    encoder_input = chosen_input(encoder, asked, frames)
    check_clip(
        encoder, frames=encoder_input.clip.length, crop_px=encoder_input.crop_px,
        settings=ClipSettings("clip.length", "crop_px"),
    )  # fmt: skip
    return features_of_files(video_paths(videos), encoder, encoder_input, precision=precision, limits=limits)


def video_paths(videos: str | PathLike[str] | Iterable[str | PathLike[str]]) -> list[Path]:
    """The files that a caller names; a single name is one file, not one of each of its letters."""
    several = [videos] if isinstance(videos, str | PathLike) else videos
    return [user_path(video) for video in several]


def features_of_files(
    videos: Sequence[Path],
    encoder: "Encoder",
    encoder_input: EncoderInput,
    *,
    precision: "Precision" = "auto",
    limits: DecodeLimits | None = None,
) -> Embedded:
    """`embed`, with all that a video goes through.

    Raises:
        DataError: as there.
    """
    from mscl.video.file_clips import each_file, file_clips
    from mscl.video.opening import VideoError

    done: list[Path] = []
    features: list[Floats] = []
    failed: dict[Path, str] = {}
    with evaluating(encoder):
        for path, segments in each_file(videos, partial(file_clips, encoder_input=encoder_input, limits=limits)):
            if isinstance(segments, Exception):
                failed[path] = str(segments)
                continue
            try:
                features_D = np.mean([_features(encoder, clips_KTHW3, precision) for clips_KTHW3 in segments], axis=0)
            except (VideoError, OSError) as error:  # of a long video, which is decoded while it is embedded
                failed[path] = str(error)
                continue
            if not np.isfinite(features_D).all():
                raise DataError(
                    f"the features of {path} are not finite; the encoder comes from a training that diverged"
                )
            done.append(path)
            features.append(features_D)
    empty = np.empty((0, encoder.feature_dim), np.float32)
    return Embedded(done, np.stack(features) if features else empty, failed)


def _features(encoder: "Encoder", clips_KTHW3: npt.NDArray[np.uint8], precision: "Precision") -> Floats:
    """(D,): mean over the clips."""
    import torch

    from mscl.training.precision import inference
    from mscl.video.normalise import normalise_rgb

    weights = next(chain(encoder.parameters(), encoder.buffers()))  # a network of one's own may learn nothing
    dtype = weights.dtype if weights.is_floating_point() else torch.float32
    with inference(precision, weights.device):
        rgb_K3THW = normalise_rgb(torch.from_numpy(clips_KTHW3).to(weights.device))
        rgb_K3THW = rgb_K3THW.to(dtype, memory_format=torch.channels_last_3d)
        features_D: Floats = encoder(rgb_K3THW).float().mean(dim=0).cpu().numpy()
    return features_D


@contextmanager
def evaluating(encoder: "nn.Module") -> Iterator[None]:
    """Eval mode and the memory format that convolutions are fast in; afterwards both as they were, module by module."""
    from mscl.models.encoders import convolutions_channels_last

    modes = [(module, module.training) for module in encoder.modules()]
    weights = [(parameter, parameter.data) for parameter in encoder.parameters()]
    encoder.eval()
    convolutions_channels_last(encoder)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, before in weights:
            parameter.data = before
