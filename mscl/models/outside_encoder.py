"""An encoder of other programs in the form of ours: normalised clips in, features out, and what its videos go through.

Three kinds: torchvision's video networks by name, video encoders of Hugging Face's `transformers`, and a function of
one's own. They are scored; MSCL trains none of them, for its losses compare maps of an R18 or R50 over time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from mscl.config.base import Section
from mscl.errors import CheckpointError, UserError
from mscl.models.clip_contract import Contract
from mscl.models.encoders import VideoEncoder, WithInput
from mscl.video.config import IMAGENET_MEAN, IMAGENET_STD


class Network(Protocol):
    """What an adapter of a kind gives; an `nn.Module`, too."""

    feature_dim: int

    def __call__(self, x_B3THW: Tensor) -> Tensor:
        """Features (B, C)."""
        ...

    def tokens(self, x_B3THW: Tensor) -> Tensor:
        """What the features are pooled from: (B, N, C), over time and picture."""
        ...


class Origin(Section):
    """Where a network comes from, as it stands in a file's card: enough to build it again without its weights."""

    kind: Literal["torchvision", "transformers", "function"]
    name: str
    """torchvision's name, the type of the configuration of `transformers`, or `module:function`."""
    config: dict[str, Any] = Field(default={})
    """`transformers`: its configuration."""


class OutsideEncoder(WithInput, nn.Module):
    """ImageNet-normalised clips (B, 3, T, H, W) -> features (B, C), with the mean and deviation of its own training.

    Args:
        network: of the kind that `origin` names.
        origin: how it is built again.
        contract: what it asks of clips.
    """

    network: Any
    """A `Network`; `Any`, for an `nn.Module` hides what its members are."""
    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, origin: Origin, contract: Contract) -> None:
        super().__init__()
        self.network = network
        self.origin = origin
        self.contract = contract
        self.feature_dim: int = int(self.network.feature_dim)
        self.input = contract.input

        def channels(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32).view(3, 1, 1, 1)

        self.register_buffer("scale", channels(IMAGENET_STD) / channels(contract.std), persistent=False)
        self.register_buffer(
            "shift", (channels(IMAGENET_MEAN) - channels(contract.mean)) / channels(contract.std), persistent=False
        )

    def forward(self, x_B3THW: Tensor) -> Tensor:
        """Features (B, C)."""
        features_BC: Tensor = self.network(x_B3THW * self.scale + self.shift)
        return features_BC

    def tokens(self, x_B3THW: Tensor) -> Tensor:
        """What the features are pooled from: (B, N, C)."""
        tokens_BNC: Tensor = self.network.tokens(x_B3THW * self.scale + self.shift)
        return tokens_BNC

    def features_and_tokens(self, x_B3THW: Tensor) -> tuple[Tensor, Tensor]:
        """Both; the network runs twice, for what it makes of its tokens is its own."""
        return self(x_B3THW), self.tokens(x_B3THW)


Encoder = VideoEncoder | OutsideEncoder
"""What can be scored."""


@dataclass(frozen=True)
class ClipSettings:
    """The settings that say how long and how large clips are, as a user writes them."""

    frames: str
    crop_px: str


def check_clip(encoder: Encoder, *, frames: int, crop_px: int, settings: ClipSettings) -> None:
    """Refuse clips that an encoder cannot take.

    Raises:
        UserError: with both values, and the settings that help.
    """
    if not isinstance(encoder, OutsideEncoder):
        return
    contract, own = encoder.contract, encoder.contract.input
    rows = [
        (contract.frames, frames, "frames", f"{settings.frames}={own.clip.length}"),
        (contract.px, crop_px, "px", f"{settings.crop_px}={own.crop_px}"),
    ]
    together = int(getattr(encoder.network, "frames_together", 1))
    if frames > together and frames % together:
        raise UserError(
            f"{encoder.origin.name} reads {together} frames at a time and would leave out the last {frames % together} "
            f"of {frames}; set {settings.frames}={frames - frames % together}"
        )
    unfit = [row for row in rows if not row[0][0] <= row[1] <= (row[0][1] or row[1])]
    if unfit:
        takes = " of ".join(f"{_range(*limits)} {unit}" for limits, _, unit, _ in unfit)
        have = " of ".join(f"{given} {unit}" for _, given, unit, _ in unfit)
        raise UserError(
            f"{encoder.origin.name} takes clips of {takes} and no others, and these have {have}; set "
            f"{' '.join(setting for *_, setting in unfit)}"
        )


def _range(least: int, most: int | None) -> str:
    return f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"


def build_outside(origin: Origin, contract: Contract, *, seed: int = 0) -> OutsideEncoder:
    """The network of an origin with random weights, in eval mode; the global random state stays as it is.

    Raises:
        CheckpointError: a kind that this program or this installation does not know.
    """
    from mscl.models.own_network import own_network
    from mscl.models.torchvision_networks import torchvision_network
    from mscl.models.transformers_networks import transformers_network

    makers: Mapping[str, Callable[[], nn.Module]] = {
        "torchvision": lambda: torchvision_network(origin.name),
        "transformers": lambda: transformers_network(origin.name, origin.config),
        "function": lambda: own_network(origin.name, contract),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = makers[origin.kind]()
    return OutsideEncoder(network, origin, contract).eval()


def refuse_foreign_code(origin: Origin, source: str) -> None:
    """Refuse to call a function that a file names: only its user may name one.

    Raises:
        CheckpointError: the network of the file is built by a function.
    """
    if origin.kind == "function":
        raise CheckpointError(
            f"the network in {source} is built by code of somebody's own, {origin.name}, which a file cannot have "
            "called; where you trust it, load it with mscl.load_encoder(FILE, own_code=True)"
        )
