"""torchvision's video networks without their classifiers."""

# torchvision ships no types, so its classes are Any to the checker.
# mypy: warn-return-any=False

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mscl.errors import CheckpointError
from mscl.models.clip_contract import Contract
from mscl.models.outside_encoder import Origin

_HEADS = ("fc", "classifier", "head")
_MAPS = ("layer4", "norm", "features")
"""Where a network has its last maps: the residual ones, the transformers, S3D."""
_CLIPS = {"mvit": (16, 4), "swin3d": (32, 2), "s3d": (128, 2)}
"""Frames of a clip, and source frames from one to the next, in torchvision's own evaluation (7.5 and 15 of 30 frames a
second); it has 16, 2 of the residual networks."""


class TorchvisionNetwork(nn.Module):
    """A network of torchvision without its classifier, in the tensors' own names."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        head = next(name for name in _HEADS if hasattr(network, name))
        last = [m for m in getattr(network, head).modules() if isinstance(m, nn.Linear | nn.Conv3d)][-1]
        self.feature_dim = last.in_features if isinstance(last, nn.Linear) else last.in_channels
        setattr(network, head, nn.Identity())
        self.network = network

    def forward(self, x_B3THW: Tensor) -> Tensor:
        """Features (B, C), which its classifier would read."""
        return self.network(x_B3THW)

    def tokens(self, x_B3THW: Tensor) -> Tensor:
        """Its last maps (B, N, C)."""
        found: list[Tensor] = []
        last = next(getattr(self.network, name) for name in _MAPS if hasattr(self.network, name))
        hook = last.register_forward_hook(lambda _module, _inputs, output: found.append(output))
        try:
            self.network(x_B3THW)
        finally:
            hook.remove()
        (maps,) = found
        if maps.ndim == 3:  # MViT: a token for the class, then those of places
            return maps[:, 1:]
        channels_last = maps if maps.shape[-1] == self.feature_dim else maps.movedim(1, -1)
        return channels_last.flatten(1, 3)


def names() -> list[str]:
    """The video networks that this torchvision has."""
    from torchvision.models import list_models, video

    return sorted(list_models(module=video))


def torchvision_network(name: str) -> TorchvisionNetwork:
    """The network with random weights.

    Raises:
        CheckpointError: this torchvision has no video network of that name.
    """
    from torchvision.models import get_model

    if name not in names():
        raise CheckpointError(f"torchvision has no video network {name!r}; it has {', '.join(names())}")
    return TorchvisionNetwork(get_model(name, weights=None))


def torchvision_origin(name: str) -> tuple[Origin, Contract]:
    """How a network of torchvision is built, and what its published weights ask of clips."""
    from torchvision.models import get_model_weights

    weights = get_model_weights(name).DEFAULT
    preset = weights.transforms()
    (crop_px,) = set(preset.crop_size)
    length, step_frames = next((clip for start, clip in _CLIPS.items() if name.startswith(start)), (16, 2))
    has_positions = name.startswith("mvit")  # one for each place and time of its clips
    contract = Contract.of_clips(
        mean=tuple(preset.mean), std=tuple(preset.std), length=length, step_frames=step_frames, crop_px=crop_px,
        short_side_px=min(preset.resize_size),
        frames=(weights.meta.get("min_temporal_size", 1), length if has_positions else None),
        px=(min(weights.meta["min_size"]), crop_px if has_positions else None),
    )  # fmt: skip
    return Origin(kind="torchvision", name=name), contract


def without_classifier(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Weights of a network of torchvision but for its classifier."""
    heads = tuple(f"{head}." for head in _HEADS)
    return {str(name): tensor for name, tensor in tensors.items() if not str(name).startswith(heads)}


def recognised(tensors: Mapping[str, Tensor]) -> str:
    """Name of the network that has these weights, by their names and shapes; empty: none."""
    wanted = _shapes(tensors)
    return next((name for name in names() if _shapes_of(name) == wanted), "")


def published_weights(name: str) -> dict[str, Tensor]:
    """torchvision's own weights of a network, out of its cache or from where torchvision has them.

    Raises:
        CheckpointError: they cannot be fetched.
    """
    from torchvision.models import get_model_weights

    weights = get_model_weights(name).DEFAULT
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights of torchvision's {name} could not be fetched from {weights.url} ({error}); put the file into "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'}, or give the file of the weights itself"
        ) from error


def published_name(name: str) -> str:
    """What tells torchvision's own weights from others: the name of their file, which ends in their digest."""
    from torchvision.models import get_model_weights

    return Path(str(get_model_weights(name).DEFAULT.url)).name


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in without_classifier(tensors).items()}


@cache  # a tenth of a second for each network
def _shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    """The same of a network of torchvision."""
    from torchvision.models import get_model

    with torch.device("meta"):
        return _shapes(get_model(name, weights=None).state_dict())
