"""The encoder that a user gives instead of training one: from a file, or untrained."""

from hashlib import file_digest
from pathlib import Path

from mscl.errors import CheckpointError
from mscl.models.config import ModelConfig
from mscl.models.encoders import VideoEncoder, untrained_encoder
from mscl.models.files import read_encoder

RANDOM = "random"


def given_encoder(given: str, *, model: ModelConfig, seed: int) -> VideoEncoder:
    """The encoder `given`: a file that `read_encoder` reads, or `random`, the start of a training with this seed.

    Raises:
        CheckpointError: a file that cannot be read, or whose backbone is not the one that `model` asks for.
    """
    if given == RANDOM:
        return untrained_encoder(model, seed=seed)
    encoder, found = read_encoder(Path(given).expanduser())
    if (found.backbone, found.rgb_width) != (model.backbone, model.rgb_width):
        raise CheckpointError(
            f"{given} holds backbone {found.backbone} at width {found.rgb_width:g}, and the settings ask for backbone "
            f"{model.backbone} at width {model.rgb_width:g}; set pretrain.model.backbone={found.backbone} "
            f"pretrain.model.rgb_width={found.rgb_width:g}, or give another file"
        )
    return encoder


def identity_of(given: str) -> str:
    """What tells `given` from another encoder: `random`, or the file's sha256.

    Raises:
        CheckpointError: no such file.
    """
    if given == RANDOM:
        return RANDOM
    path = Path(given).expanduser()
    if not path.is_file():
        raise CheckpointError(
            f"pretrain.encoder {given} is no file; give a checkpoint, an encoder.safetensors, torchvision's r3d_18 "
            f"weights, or {RANDOM}"
        )
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
