"""Weights of torchvision's video networks from a local file (a saved `state_dict`)."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mscl.errors import AssumptionWarning, CheckpointError

_OURS = "r3d_18"
_OTHERS = ("mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b")
_CLASSIFIER = ("fc.", "head.", "classifier.")


def torchvision_weights(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights of torchvision's `r3d_18` without its classifier: those of our RGB encoder r18.

    Raises:
        CheckpointError: weights of another network; says which, where torchvision has it.
    """
    weights = _without_classifier(state)
    if _shapes(weights) == _shapes_of(_OURS):
        warnings.warn(
            f"{path} is torchvision's r3d_18, trained with Kinetics' mean and deviation of each colour; its clips get "
            "ImageNet's here, as all of ours do, and its scores may be a little lower for it",
            AssumptionWarning,
            stacklevel=2,
        )
        return weights
    name = next((name for name in _OTHERS if _shapes(weights) == _shapes_of(name)), "")
    first = next(iter(weights.items()), None)
    told = f"torchvision's {name}" if name else f"another network ({len(weights)} tensors"
    if not name:
        told += f", the first {first[0]} {tuple(first[1].shape)})" if first else ")"
    raise CheckpointError(
        f"{path} holds {told}, and what can be read is torchvision's r3d_18 (backbone r18, rgb_width 1); "
        "save torchvision.models.video.r3d_18(weights=...).state_dict() and give that file"
    )


def _shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    from torchvision.models import video  # heavy

    with torch.device("meta"):
        return _shapes(_without_classifier(getattr(video, name)(weights=None).state_dict()))


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {str(name): tuple(tensor.shape) for name, tensor in tensors.items()}


def _without_classifier(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not str(name).startswith(_CLASSIFIER)}
