"""Encoders in files: out of a training checkpoint, exported as safetensors with a JSON card, or of other programs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mscl.errors import CheckpointError
from mscl.models.clip_contract import Contract
from mscl.models.config import ModelConfig
from mscl.models.encoders import VideoEncoder, build_rgb_encoder, untrained_encoder
from mscl.models.outside_encoder import (
    Encoder,
    Origin,
    OutsideEncoder,
    build_outside,
    refuse_foreign_code,
)
from mscl.models.weight_files import is_safetensors, read_checkpoint, read_safetensors, write_safetensors
from mscl.video.frame_recipe import EncoderInput

EXPORT_NAME = "encoder.safetensors"
ENCODER_PREFIX = "query_rgb.encoder."
"""Where a training checkpoint's model state keeps the encoder that evaluation reads."""
RELEASED_PREFIX = "recognizer.encoder_q."
"""Where the checkpoints of the released code keep it; below the prefix the names are the same."""
_FORMAT = "mscl-encoder-2"
"""2: says what videos go through before the encoder sees them. The first had no name and does not say it."""
_OUTSIDE_FORMAT = "mscl-outside-encoder-1"
_KNOWN_FORMATS = (None, "mscl-encoder-1", _FORMAT, _OUTSIDE_FORMAT)


@dataclass(frozen=True)
class EncoderFile:
    """What a file of any kind holds."""

    encoder: Encoder
    """On the CPU, in eval mode; its `input` is None where the file does not say it."""
    model: ModelConfig | None
    """Networks of this program; None: an encoder of another one."""
    crop_px: int | None = None
    """Of the training, where the file says that."""
    steps: int | None = None
    """Of the training, where the file says that."""

    def untrained(self, *, seed: int) -> Encoder:
        """The same network with random weights, in eval mode; ours is the one that a training with this seed starts
        from."""
        if isinstance(self.encoder, OutsideEncoder):
            return build_outside(self.encoder.origin, self.encoder.contract, seed=seed)
        assert self.model is not None, "an encoder of this program has its configuration"
        return untrained_encoder(self.model, seed=seed)


def read_encoder(path: Path, *, own_code: bool = False) -> EncoderFile:
    """Encoder of a training checkpoint or of an export, on CPU, in eval mode; nothing in the file executes.

    Takes checkpoints of the released code, too: R18, names below `recognizer.encoder_q.`; what else they hold is
    left out. And weights of torchvision's video networks, whose classifiers are left out.

    Args:
        path: the file.
        own_code: whether a function may be called that the file names, which builds its network.

    Raises:
        CheckpointError: the file is missing, unreadable, or holds no such encoder.
    """
    if is_safetensors(path):
        return _exported(path, own_code=own_code)
    state = read_checkpoint(path)
    if "model_config" in state:
        return _checkpoint(state, path)
    tensors = state.get("state_dict", state)
    if not isinstance(tensors, dict):
        raise CheckpointError(f"{path} holds a {type(tensors).__name__} for a state_dict")
    if any(str(name).startswith(RELEASED_PREFIX) for name in tensors):
        return _released(tensors, path)
    if tensors and all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        return _of_torchvision(tensors, path)
    raise CheckpointError(
        f"{path} holds no encoder; give a checkpoint or an export of this program, a checkpoint of the released code, "
        "or the weights of one of torchvision's video networks"
    )


def write_encoder(encoder: Encoder, model: ModelConfig | None, path: Path, *, card: Mapping[str, Any]) -> Path:
    """Write an encoder as one safetensors file; returns `path`. `model`: of one of this program.

    Its card is JSON: how the network is built, what videos go through before the encoder sees them (`encoder.input`,
    where that is known), and what the caller adds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, encoder.state_dict(), encoder_card(encoder, model) | dict(card))
    return path


def encoder_card(encoder: Encoder, model: ModelConfig | None) -> dict[str, Any]:
    """What `write_encoder` says of an encoder, as plain values."""
    known = {} if encoder.input is None else {"encoder_input": encoder.input.model_dump(mode="json")}
    return {
        "format": _OUTSIDE_FORMAT if isinstance(encoder, OutsideEncoder) else _FORMAT,
        **network_card(encoder, model),
        "feature_dim": encoder.feature_dim,
        "tensor": "float (B, 3, T, H, W), RGB 0..1, ImageNet mean and standard deviation",
        **known,
    }


def network_card(encoder: Encoder, model: ModelConfig | None) -> dict[str, Any]:
    """How a network is built again, for `network_of_card`."""
    if isinstance(encoder, OutsideEncoder):
        return {"origin": encoder.origin.model_dump(mode="json"), "contract": encoder.contract.model_dump(mode="json")}
    assert model is not None, "an encoder of this program has its configuration"
    return {"model_config": model.model_dump(mode="json")}


def network_of_card(
    card: Mapping[str, Any], *, source: str, own_code: bool = False
) -> tuple[Encoder, ModelConfig | None]:
    """The network that a card describes, with random weights, in eval mode.

    Raises:
        CheckpointError: a network that cannot be built here.
        KeyError, ValidationError: a card that does not describe any.
    """
    if "origin" in card:
        origin = Origin.model_validate(card["origin"])
        if not own_code:
            refuse_foreign_code(origin, source)
        return build_outside(origin, Contract.model_validate(card["contract"])), None
    model = ModelConfig.model_validate(card["model_config"])
    return _empty_encoder(model), model


def _empty_encoder(model: ModelConfig) -> VideoEncoder:
    """For weights to come: no time goes into random ones."""
    with torch.device("meta"):
        encoder = build_rgb_encoder(model)
    return encoder.eval().to_empty(device="cpu")


def load_matching(module: nn.Module, weights: Any, *, source: str) -> None:
    """`load_state_dict` that names the first tensors that differ, and refuses values that are not finite.

    Raises:
        CheckpointError: no tensors by name; names, shapes or kinds of numbers differ: weights of another architecture.
    """
    if not isinstance(weights, Mapping):
        raise CheckpointError(f"{source} holds a {type(weights).__name__} where weights should be")
    wanted = {name: _kind(tensor) for name, tensor in module.state_dict().items()}
    found = {str(name): _kind(tensor) for name, tensor in weights.items()}
    differing = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
    if differing:
        shown = "; ".join(
            f"{name}: file {found.get(name, 'lacks it')}, model {wanted.get(name, 'has none')}"
            for name in differing[:3]
        )
        raise CheckpointError(
            f"{source} is of another architecture: {len(differing)} of {len(wanted)} tensors differ ({shown})"
        )
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{source}: {name} is not finite; it comes from a training that diverged")
    module.load_state_dict(weights)


def _kind(tensor: Any) -> str:
    """Shape of a dense tensor, and the kind of its numbers where they are no floats."""
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
        return f"has a {type(tensor).__name__} that is no dense tensor"
    kind = "" if tensor.is_floating_point() else " complex" if tensor.is_complex() else " integer"
    return f"{tuple(tensor.shape)}{kind}"


def _encoder(model: ModelConfig, weights: Any, path: Path) -> VideoEncoder:
    encoder = _empty_encoder(model)
    load_matching(encoder, weights, source=str(path))
    return encoder


def _checkpoint(state: dict[str, Any], path: Path) -> EncoderFile:
    try:
        model = ModelConfig.model_validate_json(state["model_config"])
        steps, settings = int(state["step"]), json.loads(state.get("config", "{}"))
        crop_px = settings.get("pretrain", settings).get("augment", {}).get("crop_px")
        encoder = _encoder(model, _below(ENCODER_PREFIX, state["model"]), path)
        if state.get("encoder_input") is not None:
            encoder.input = EncoderInput.model_validate_json(state["encoder_input"])
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
        raise unfit_file(path, "pre-training checkpoint of this program", error) from error
    return EncoderFile(encoder, model, crop_px, steps)


def _of_torchvision(tensors: Mapping[str, Tensor], path: Path) -> EncoderFile:
    """Weights of one of torchvision's video networks."""
    from mscl.models.torchvision_networks import recognised, torchvision_origin, without_classifier

    name = recognised(tensors)
    weights = without_classifier(tensors)
    if name:
        encoder = build_outside(*torchvision_origin(name))
        load_matching(encoder.network.network, weights, source=str(path))
        return EncoderFile(encoder, None)
    first = next(iter(weights.items()), None)
    told = f", the first {first[0]} {tuple(first[1].shape)}" if first else ""
    raise CheckpointError(
        f"{path} holds another network ({len(weights)} tensors{told}) than torchvision's video networks; save "
        "torchvision.models.video.NAME(weights=...).state_dict() and give that file"
    )


def _exported(path: Path, *, own_code: bool) -> EncoderFile:
    weights, card = read_safetensors(path)
    if str(card.get("format", "")).startswith("mscl-classifier"):
        raise CheckpointError(f"{path} holds a classifier; for an encoder give the checkpoint that it was trained from")
    if card.get("format") not in _KNOWN_FORMATS:
        raise CheckpointError(
            f"{path} has a card of format {card['format']!r}, and this version reads {_FORMAT} and {_OUTSIDE_FORMAT}; "
            "update mscl-pipeline"
        )
    try:
        encoder, model = network_of_card(card, source=str(path), own_code=own_code)
        load_matching(encoder, weights, source=str(path))
        if "encoder_input" in card:
            encoder.input = EncoderInput.model_validate(card["encoder_input"])
    except (KeyError, TypeError, ValidationError) as error:
        raise unfit_file(path, "encoder exported by this program", error) from error
    steps = card.get("steps")
    return EncoderFile(encoder, model, steps=steps if isinstance(steps, int) else None)


def _released(state: dict[str, Any], path: Path) -> EncoderFile:
    weights = _below(RELEASED_PREFIX, state)
    stem = weights.get("stem.0.weight")
    width = stem.shape[0] / 64 if isinstance(stem, Tensor) and stem.ndim else 1.0
    try:
        model = ModelConfig(rgb_width=width)
    except ValidationError as error:
        raise unfit_file(path, "checkpoint of the released code", error) from error
    with torch.device("meta"):
        wanted = build_rgb_encoder(model).state_dict().keys()
    return EncoderFile(_encoder(model, {name: weights[name] for name in wanted if name in weights}, path), model)


def _below(prefix: str, tensors: Any) -> dict[str, Any]:
    if not isinstance(tensors, dict):
        raise TypeError(f"its weights are a {type(tensors).__name__}")
    return {str(name).removeprefix(prefix): t for name, t in tensors.items() if str(name).startswith(prefix)}


def unfit_file(path: Path, kind: str, error: Exception) -> CheckpointError:
    """Why a file is no `kind`, in one line, whatever the error looks like."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "its settings"
        if first["type"] == "extra_forbidden":
            return CheckpointError(
                f"{path} has a setting that this version does not know: {name}; a newer version made it, so update "
                "mscl-pipeline"
            )
        why = f"{name}: {first['msg']}"
    elif isinstance(error, KeyError):
        why = f"it has no {error}"
    else:
        why = str(error).partition("\n")[0]
    return CheckpointError(f"{path} is no {kind}: {why}")
