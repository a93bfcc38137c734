"""Use of a fine-tuned classifier on video files: probabilities, and where it looked (Grad-CAM)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mscl.errors import UserError
from mscl.video.file_clips import Clips, each_file, file_clips, middle_clip
from mscl.video.opening import VideoError

if TYPE_CHECKING:
    import torch

    from mscl.finetune.classifier import Classifier, Trained

_MAPS = {"L2": 0, "L3": 1, "L4": 2}


@dataclass(frozen=True)
class Prediction:
    """What the classifier says of one video, or why it cannot say anything."""

    video: Path
    classes: tuple[str, ...] = ()
    """Best first."""
    probabilities: tuple[float, ...] = ()
    """Of `classes`; the mean over the video's clips."""
    failed: str = ""
    """Why the video could not be used; empty when it could."""


@dataclass(frozen=True)
class Explained:
    """A clip, and what can be shown of it."""

    clip_THW3: Clips
    heat_THW: npt.NDArray[np.float32] | None
    """Grad-CAM, 0..1."""
    flow_THW2: npt.NDArray[np.float32] | None
    """px of the clip's own grid."""


def predict_videos(
    trained: "Trained",
    videos: Sequence[Path],
    *,
    best: int = 5,
    device: str = "cpu",
) -> Iterator[Prediction]:
    """Class probabilities of video files, as in the test of fine-tuning; one result per video, in order.

    A video that does not decode gives a result with its reason, and the others go on.

    Args:
        trained: from `load_classifier`; it knows what its videos went through.
        best: classes per video.
    """
    import torch

    classifier, precision = trained.classifier.to(device), trained.finetune.precision
    for video, segments in each_file(videos, partial(file_clips, encoder_input=trained.input)):
        if isinstance(segments, Exception):
            yield Prediction(video, failed=str(segments))
            continue
        try:
            probabilities = [
                classifier.probabilities(_tensor(clips, device), precision=precision)[0].cpu() for clips in segments
            ]
        except (VideoError, OSError) as error:  # of a long video, which is decoded while it is classified
            yield Prediction(video, failed=str(error))
            continue
        values, order = torch.stack(probabilities).mean(dim=0).topk(min(best, len(trained.classes)))
        names = tuple(trained.classes[i] for i in order.tolist())
        yield Prediction(video, names, tuple(values.tolist()))


def explain(
    trained: "Trained",
    video: Path,
    *,
    label: int | None = None,
    heat: bool = True,
    flow: bool = True,
) -> Explained:
    """The middle test clip of a file, its centre crop, with where the classifier looked and what moved.

    Args:
        label: class whose evidence is mapped; None: the most probable one of this clip.
        heat: Grad-CAM.
        flow: from each frame of the clip to the next index of the video, `gap_frames` of the recipe later.

    Raises:
        VideoError: the file does not decode.
    """
    from kernels.flow import compute_flow

    clip_THW3 = middle_clip(video, trained.input)
    later_THW3 = middle_clip(video, trained.input, later=1) if flow else None
    return Explained(
        clip_THW3,
        grad_cam(trained.classifier, clip_THW3, label=label) if heat else None,
        None if later_THW3 is None else compute_flow(clip_THW3, later_THW3, method="dis"),
    )


def grad_cam(
    classifier: "Classifier", clip_THW3: Clips, *, label: int | None = None, level: str = "L3"
) -> npt.NDArray[np.float32]:
    """Where in a clip the evidence for a class lies (Selvaraju et al., ICCV 2017): (T, H, W) in 0..1.

    The maps of `level` are summed, weighted by the mean gradient of the class's logit, and what speaks against
    the class is cut off. L3 is the default: at 112 px L4 has one moment and 7x7 places.

    Args:
        label: the class; None: the most probable one.
        level: L2, L3 or L4 of the encoder.

    Raises:
        ValueError: an unknown level.
        UserError: an encoder of another program, which has no such levels.
    """
    import torch
    from torch.nn import functional as F

    from mscl.models.encoders import VideoEncoder
    from mscl.models.heads import global_average
    from mscl.video.normalise import normalise_rgb

    if level not in _MAPS:
        raise ValueError(f"level {level!r} is not one of {', '.join(_MAPS)}")
    encoder = classifier.encoder
    if not isinstance(encoder, VideoEncoder):
        raise UserError(f"Grad-CAM is for encoders of this program; this classifier has {encoder.origin.name}")
    device = next(classifier.parameters()).device
    was_training = classifier.training
    classifier.eval()
    try:
        with torch.enable_grad():
            rgb_13THW = normalise_rgb(_tensor(clip_THW3, device))
            maps = encoder.pyramid(rgb_13THW)
            logits_C = classifier.head(global_average(maps[-1]))[0]
            chosen = int(logits_C.argmax()) if label is None else label
            seen_1CTHW = maps[_MAPS[level]]
            (slope_1CTHW,) = torch.autograd.grad(logits_C[chosen], seen_1CTHW)
    finally:
        classifier.train(was_training)
    weight_1C111 = slope_1CTHW.mean(dim=(2, 3, 4), keepdim=True)
    heat_11THW = (weight_1C111 * seen_1CTHW.detach()).sum(dim=1, keepdim=True).relu()
    heat_11THW = F.interpolate(heat_11THW, size=clip_THW3.shape[:3], mode="trilinear", align_corners=False)
    heat_THW: npt.NDArray[np.float32] = (heat_11THW / heat_11THW.max().clamp_min(1e-12))[0, 0].cpu().numpy()
    return heat_THW


def _tensor(clips: Clips, device: "torch.device | str") -> "torch.Tensor":
    """(1, ..., T, H, W, 3) on the device."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(clips))[None].to(device)
