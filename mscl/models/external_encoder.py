"""The encoder that a user names instead of training one: a file, or the untrained start of a training."""

from hashlib import file_digest

from mscl.errors import CheckpointError
from mscl.models.config import ModelConfig
from mscl.models.encoders import VideoEncoder, untrained_encoder
from mscl.models.files import read_encoder
from mscl.models.weight_files import check_file
from storage.user_paths import user_path

RANDOM = "random"


def external_encoder(name: str, *, model: ModelConfig, seed: int) -> VideoEncoder:
    """The encoder in the file `name`, of any kind that `read_encoder` reads; `random`: the start of a training with
    this seed.

    Raises:
        CheckpointError: a file that cannot be read, or whose backbone is not the one that `model` asks for.
    """
    if name == RANDOM:
        return untrained_encoder(model, seed=seed)
    file = read_encoder(user_path(name))
    found = file.model
    if (found.backbone, found.rgb_width) != (model.backbone, model.rgb_width):
        raise CheckpointError(
            f"{name} holds backbone {found.backbone} at width {found.rgb_width:g}, and the settings ask for backbone "
            f"{model.backbone} at width {model.rgb_width:g}; set pretrain.model.backbone={found.backbone} "
            f"pretrain.model.rgb_width={found.rgb_width:g}, or give another file"
        )
    return file.encoder


def external_encoder_digest(name: str) -> str:
    """What tells an encoder from another: `random`, or the file's sha256.

    Raises:
        CheckpointError: no such file.
    """
    if name == RANDOM:
        return RANDOM
    path = user_path(name)
    check_file(path)
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
