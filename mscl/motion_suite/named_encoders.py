"""Encoders by what a user calls them: the key of a result, a file, a network of torchvision, or one's own."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from mscl.embedding.encoder_input import assumed_input, embedded_as
from mscl.embedding.export import named_checkpoint
from mscl.errors import UserError
from mscl.models.external_encoder import kind_of, named_file
from mscl.models.files import read_encoder
from mscl.models.torchvision_networks import names
from mscl.video.frame_recipe import EncoderInput
from storage.user_paths import user_path
from storage.workspace import Workspace


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
    """Whether the file does not say all of it, and the paper's settings were taken for the rest."""


def named_encoders(names: Sequence[str], *, workspace: Workspace) -> list[NamedEncoder]:
    """`named_encoder` of each; those that are called alike in short by all that was given.

    Raises:
        UserError: as there.
        CheckpointError: as there.
    """
    given = list(dict.fromkeys(names))
    found = [named_encoder(name, workspace=workspace) for name in given]
    count = Counter(one.name for one in found)
    return [one if count[one.name] == 1 else replace(one, name=name) for name, one in zip(given, found, strict=True)]


def named_encoder(name: str, *, workspace: Workspace) -> NamedEncoder:
    """The encoder that `name` names: the key of a result, or what `pretrain.encoder` takes.

    Raises:
        UserError: nothing of these, or an extra that is not installed.
        CheckpointError: a file or weights that cannot be read.
    """
    if kind_of(name) != "file" or user_path(name).exists():
        file, recorded = named_file(name), embedded_as(name)
    elif len(Path(name).parts) == 1 and not _is_key(name):
        raise UserError(
            f"{name!r} is no file, no key of a result (`mscl ls`), no module:function, and no video network of "
            f"torchvision ({', '.join(names())})"
        )
    else:
        checkpoint, recorded = named_checkpoint(name, workspace=workspace)
        file = read_encoder(checkpoint, own_code=True)
    known = recorded or file.encoder.input
    return NamedEncoder(
        name=name if Path(name).name == name else Path(name).name,
        encoder=file.encoder,
        untrained=lambda: file.untrained(seed=0),
        input=known or assumed_input(crop_px=file.crop_px),
        assumed=known is None or known.of_training,
    )


def _is_key(name: str) -> bool:
    return bool(name) and all(letter in "0123456789abcdef" for letter in name)
