"""Encoders by what a user calls them: the key of a result, a file, or a network of torchvision."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mscl.embedding.encoder_input import assumed_input
from mscl.embedding.export import named_checkpoint
from mscl.errors import CheckpointError, UserError
from mscl.models.encoders import untrained_encoder
from mscl.models.files import read_encoder
from mscl.video.config import ClipConfig
from mscl.video.frame_recipe import EncoderInput
from mscl.video.normalise import IMAGENET_MEAN, IMAGENET_STD
from storage.user_paths import user_path
from storage.workspace import Workspace

_HEADS = ("fc", "classifier", "head")
_LENGTH, _GAP_FRAMES = 16, 2
"""torchvision's networks were trained on 16 frames of videos at 15 frames a second."""


@dataclass(frozen=True)
class NamedEncoder:
    """An encoder with what it is called and what its videos go through."""

    name: str
    encoder: nn.Module
    """ImageNet-normalised clips (B, 3, T, H, W) -> features (B, C); in eval mode."""
    untrained: Callable[[], nn.Module]
    """Makes the same network with random weights."""
    input: EncoderInput
    assumed: bool = False
    """Whether the file does not say it, and the paper's settings were taken."""


def named_encoder(name: str, *, workspace: Workspace) -> NamedEncoder:
    """The encoder that `name` names.

    Raises:
        UserError: neither a file, nor a key, nor a network of torchvision.
        CheckpointError: a file or weights that cannot be read.
    """
    from torchvision.models import list_models, video

    if name in list_models(module=video):
        return _torchvision(name)
    if not user_path(name).is_file() and len(Path(name).parts) == 1 and not _is_key(name):
        raise UserError(
            f"{name!r} is no file, no key of a result (`mscl ls`), and no video network of torchvision "
            f"({', '.join(list_models(module=video))})"
        )
    checkpoint, recorded = named_checkpoint(name, workspace=workspace)
    file = read_encoder(checkpoint)
    known = recorded or file.encoder.input
    return NamedEncoder(
        name=name if Path(name).name == name else Path(name).name,
        encoder=file.encoder,
        untrained=lambda: untrained_encoder(file.model, seed=0),
        input=known or assumed_input(crop_px=file.crop_px),
        assumed=known is None,
    )


def _is_key(name: str) -> bool:
    return bool(name) and all(letter in "0123456789abcdef" for letter in name)


class _Headless(nn.Module):
    """A network of torchvision without its classifier, with the mean and deviation that it was trained with."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        for head in _HEADS:
            if hasattr(network, head):
                setattr(network, head, nn.Identity())
        self.network = network

        def channels(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32).view(3, 1, 1, 1)

        self.register_buffer("scale", channels(IMAGENET_STD) / channels(std))
        self.register_buffer("shift", (channels(IMAGENET_MEAN) - channels(mean)) / channels(std))

    def forward(self, x_B3THW: Tensor) -> Tensor:
        """Features (B, C)."""
        features: Tensor = self.network(x_B3THW * self.scale + self.shift)
        return features


def _torchvision(name: str) -> NamedEncoder:
    from torchvision.models import get_model, get_model_weights

    weights = get_model_weights(name).DEFAULT
    preset = weights.transforms()
    try:
        state = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights of torchvision's {name} could not be fetched from {weights.url} ({error}); put the file into "
            f"{torch.hub.get_dir()}/checkpoints, or give an encoder in a file"
        ) from error
    trained = get_model(name, weights=None)
    trained.load_state_dict(state)
    (crop_px,) = set(preset.crop_size)
    recipe = assumed_input().recipe.model_copy(
        update={"gap_frames": _GAP_FRAMES, "stored_px": min(preset.resize_size), "computed_px": min(preset.resize_size)}
    )
    encoder_input = assumed_input(crop_px=crop_px).model_copy(
        update={
            "recipe": recipe,
            "clip": ClipConfig(length=_LENGTH, stride=1),
            "short_side_px": min(preset.resize_size),
        }
    )

    def headless(network: nn.Module) -> nn.Module:
        return _Headless(network, tuple(preset.mean), tuple(preset.std)).eval()

    def untrained() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return headless(get_model(name, weights=None))

    return NamedEncoder(name, headless(trained), untrained, encoder_input)
