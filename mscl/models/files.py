"""Encoders in files: out of a training checkpoint, or exported for others as safetensors with a JSON card."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from mscl.errors import CheckpointError
from mscl.models.config import ModelConfig
from mscl.models.encoders import VideoEncoder, untrained_encoder
from mscl.models.torchvision_files import is_torchvision, load_torchvision
from mscl.models.weight_files import read_checkpoint, read_safetensors, write_safetensors

ENCODER_PREFIX = "query_rgb.encoder."
"""Where a training checkpoint's model state keeps the encoder that evaluation reads."""
RELEASED_PREFIX = "recognizer.encoder_q."
"""Where the checkpoints of the released code keep it; below the prefix the names are the same."""


def load_rgb_encoder(path: Path | str) -> VideoEncoder:
    """RGB query encoder of a training checkpoint or of an export (`.safetensors`), on CPU, in eval mode.

    Takes checkpoints of the released code, too: R18, names below `recognizer.encoder_q.`; what else they hold is
    left out. And torchvision's weights of `r3d_18`, whose classifier is left out.

    Raises:
        CheckpointError: the file is missing, unreadable, or holds no such encoder.
    """
    return read_encoder(path)[0]


def read_encoder(path: Path | str) -> tuple[VideoEncoder, ModelConfig]:
    """`load_rgb_encoder`, with the configuration that the file's encoder was built from.

    Raises:
        CheckpointError: as there.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _load_export(path)
    state = read_checkpoint(path)
    released = state.get("state_dict", state)
    if any(name.startswith(RELEASED_PREFIX) for name in released):
        return _load_released(released, path)
    if "model_config" not in state and is_torchvision(state):
        return load_torchvision(state, path), ModelConfig()
    try:
        model: dict[str, Tensor] = state["model"]
        config = ModelConfig.model_validate_json(state["model_config"])
    except (KeyError, ValidationError) as error:
        raise CheckpointError(f"{path} is no pre-training checkpoint of this program: {error}") from error
    return _encoder(config, _below(ENCODER_PREFIX, model), path)


def load_matching(module: nn.Module, weights: dict[str, Tensor], *, source: str) -> None:
    """`load_state_dict` that names the first tensors that differ.

    Raises:
        CheckpointError: names or shapes differ: weights of another architecture.
    """
    wanted = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in weights.items()}
    differing = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
    if differing:
        shown = "; ".join(
            f"{name}: file {found.get(name, 'lacks it')}, model {wanted.get(name, 'has none')}"
            for name in differing[:3]
        )
        raise CheckpointError(
            f"{source} is of another architecture: {len(differing)} of {len(wanted)} tensors differ ({shown}); "
            "set pretrain.model and pretrain.loss as they were for that run, or start anew in another folder"
        )
    module.load_state_dict(weights)


def export_encoder(checkpoint: Path, folder: Path, *, card: dict[str, Any]) -> Path:
    """Write `encoder.safetensors` and `encoder.json`, the card: model configuration and what the caller adds.

    The card usually says lineage and metrics; it also goes into the safetensors file, so that one file is enough.

    Returns:
        Path of the safetensors file; load it with `load_rgb_encoder`.
    """
    encoder, config = read_encoder(checkpoint)
    return write_encoder(encoder, config, folder, card={"steps": read_checkpoint(checkpoint)["step"], **card})


def write_encoder(encoder: VideoEncoder, config: ModelConfig, folder: Path, *, card: dict[str, Any]) -> Path:
    """`export_encoder` of an encoder that is in memory, built from `config`."""
    from storage.atomic import write_atomic

    whole = {
        "model_config": config.model_dump(mode="json"),
        "feature_dim": encoder.feature_dim,
        "input": "float (B, 3, T, H, W), RGB 0..1, ImageNet mean and standard deviation",
        **card,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "encoder.safetensors", encoder.state_dict(), whole)
    write_atomic(folder / "encoder.json", json.dumps(whole, indent=2, sort_keys=True).encode())
    return folder / "encoder.safetensors"


def _load_released(state: dict[str, Tensor], path: Path) -> tuple[VideoEncoder, ModelConfig]:
    weights = _below(RELEASED_PREFIX, state)
    wanted = untrained_encoder(ModelConfig(), seed=0).state_dict().keys()
    weights = {name: t for name, t in weights.items() if name in wanted}
    stem = weights.get("stem.0.weight")
    width = 1.0 if stem is None else stem.shape[0] / 64
    return _encoder(ModelConfig(rgb_width=width), weights, path)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _load_export(path: Path) -> tuple[VideoEncoder, ModelConfig]:
    weights, card = read_safetensors(path)
    try:
        config = ModelConfig.model_validate(card["model_config"])
    except (KeyError, ValidationError) as error:
        raise CheckpointError(f"{path} is no encoder exported by this program: {error}") from error
    return _encoder(config, weights, path)


def _encoder(config: ModelConfig, weights: dict[str, Tensor], path: Path) -> tuple[VideoEncoder, ModelConfig]:
    encoder = untrained_encoder(config, seed=0)
    load_matching(encoder, weights, source=str(path))
    return encoder, config


def load_encoder(path: str | PathLike[str]) -> "VideoEncoder":
    """RGB encoder of a training checkpoint (`.pt`) or an exported one (`.safetensors`), in eval mode, on the CPU.

    Calling it with (B, 3, T, H, W) ImageNet-normalised clips gives features (B, C).

    Raises:
        CheckpointError: missing, unreadable, or no such encoder.
    """
    return load_rgb_encoder(Path(path))
