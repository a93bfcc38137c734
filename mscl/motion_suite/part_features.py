"""Features of a part of the suite: moving clips and every control, each video decoded once."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mscl.array_types import Floats
from mscl.demo.parts import Part
from mscl.embedding.video_features import evaluating
from mscl.errors import DataError, UserError
from mscl.motion_suite.named_encoders import NamedEncoder
from mscl.progress import Progress
from mscl.video.clip_indices import Shown
from mscl.video.file_clips import each_file, file_clips, shown_counts
from mscl.video.frame_recipe import EncoderInput
from mscl.video.normalise import normalise_rgb

SHOWN: tuple[Shown, ...] = ("moving", "first", "middle", "last", "shuffled")
UNTRAINED = "untrained"


def fitted_input(named: NamedEncoder, part: Part, *, side_px: int, slower: int) -> EncoderInput:
    """What the part's videos go through for this encoder: as its own did, with the clips that the part needs.

    Raises:
        UserError: the encoder looks at more pixels or frames than the videos have.
    """
    own, num_frames = named.input, part.num_frames * slower
    wanted_px = own.resized_px
    if wanted_px > side_px:
        raise UserError(
            f"{named.name} looks at {own.crop_px} px of pictures of {wanted_px} px, and the suite's have {side_px} px; "
            f"give --side {wanted_px + wanted_px % 2}"
        )
    span = own.clip.length if own.sampling == "segments" else own.clip.span
    # One frame more: the last one of a video begins no flow field, so clips do not show it.
    wanted_frames = own.recipe.gap_frames * (span - 1) + 2
    if wanted_frames > num_frames:
        raise UserError(
            f"a clip of {named.name} spans {wanted_frames} frames, and the videos of {part.name} have {num_frames}; "
            f"give --slower {-(-wanted_frames // part.num_frames)}, or --part without {part.name}"
        )
    recipe = own.recipe.model_copy(update={"span_frames": 1, "computed_px": side_px, "stored_px": side_px})
    return own.model_copy(update={"recipe": recipe, "max_segment_seconds": None, "clips": part.clips, "crops": 1})


def part_features(
    named: NamedEncoder,
    videos: Sequence[Path],
    encoder_input: EncoderInput,
    *,
    device: torch.device,
    progress: Progress,
    title: str,
) -> dict[str, Floats]:
    """What is shown -> features (N, C) of the videos, the mean over the clips; and those of the untrained network.

    Raises:
        DataError: a video that cannot be read, or features that are not finite or no (B, C).
    """
    counts = dict(zip(SHOWN, shown_counts(encoder_input, SHOWN), strict=True))
    found: dict[str, list[Floats]] = {name: [] for name in (*SHOWN, UNTRAINED)}
    trained, untrained = named.encoder.to(device), named.untrained().to(device)
    progress.start(title, len(videos), "videos")
    with evaluating(trained), evaluating(untrained), torch.inference_mode():
        for path, segments in each_file(videos, partial(file_clips, encoder_input=encoder_input, shown=SHOWN)):
            if isinstance(segments, Exception):
                raise DataError(f"{path}: {segments}; remove the suite's folder and write it again")
            (clips_KTHW3,) = segments
            rgb_K3THW = normalise_rgb(torch.from_numpy(clips_KTHW3).to(device))
            rgb_K3THW = rgb_K3THW.to(memory_format=torch.channels_last_3d)
            features_KC = _features(trained, rgb_K3THW, named.name)
            found[UNTRAINED].append(_features(untrained, rgb_K3THW[: counts["moving"]], named.name).mean(axis=0))
            for name, part in _parts(features_KC, counts).items():
                found[name].append(part.mean(axis=0))
            progress.advance()
    progress.done()
    return {name: np.stack(rows) for name, rows in found.items()}


def _features(encoder: nn.Module, rgb_K3THW: torch.Tensor, name: str) -> Floats:
    features = encoder(rgb_K3THW)
    if features.ndim != 2 or len(features) != len(rgb_K3THW):
        raise DataError(f"{name} gives {tuple(features.shape)} for {len(rgb_K3THW)} clips; it is to give (clips, C)")
    found: Floats = features.float().cpu().numpy()
    if not np.isfinite(found).all():
        raise DataError(f"the features of {name} are not finite; the encoder comes from a training that diverged")
    return found


def _parts(features_KC: Floats, counts: Mapping[Shown, int]) -> dict[str, Floats]:
    ends = np.cumsum(list(counts.values()))
    return dict(zip(counts, np.split(features_KC, ends[:-1]), strict=True))
