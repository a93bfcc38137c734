"""Weights of torchvision's video networks from a local file (a saved `state_dict`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import video

from mscl.errors import CheckpointError
from mscl.models.config import ModelConfig
from mscl.models.encoders import VideoEncoder, untrained_encoder

_OTHERS = ("mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b")
_CLASSIFIER = ("fc.", "head.", "classifier.")


def is_torchvision(state: Mapping[str, Any]) -> bool:
    """Whether these are the tensors of one network with its classifier, as torchvision saves them."""
    return bool(state) and all(isinstance(value, Tensor) for value in state.values())


def load_torchvision(state: Mapping[str, Tensor], path: Path) -> VideoEncoder:
    """The RGB encoder r18 with the weights of torchvision's `r3d_18`, in eval mode; the classifier is left out.

    Raises:
        CheckpointError: weights of another network; says which, where torchvision has it.
    """
    weights = _without_classifier(state)
    encoder = untrained_encoder(ModelConfig(), seed=0)
    wanted = encoder.state_dict()
    if _shapes(weights) != _shapes(wanted):
        name = next((name for name in _OTHERS if _shapes(weights) == _shapes_of(name)), "")
        first = next(iter(weights.items()), None)
        told = f"torchvision's {name}" if name else f"another network ({len(weights)} tensors"
        if not name:
            told += f", the first {first[0]} {tuple(first[1].shape)})" if first else ")"
        raise CheckpointError(
            f"{path} holds {told}, and what can be read is torchvision's r3d_18 (backbone r18, rgb_width 1); "
            "save torchvision.models.video.r3d_18(weights=...).state_dict() and give that file"
        )
    encoder.load_state_dict(weights)
    return encoder


def _shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return _shapes(_without_classifier(getattr(video, name)(weights=None).state_dict()))


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _without_classifier(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_CLASSIFIER)}
