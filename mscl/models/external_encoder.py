"""The encoder that a user names instead of training one: a file or folder, here or on the hub, a name, `random`."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Literal

from mscl.errors import CheckpointError
from mscl.models.config import ModelConfig
from mscl.models.encoders import untrained_encoder
from mscl.models.files import EXPORT_NAME, EncoderFile, load_matching, read_encoder
from mscl.models.hub import hub_folder, is_hub_name
from mscl.models.outside_encoder import Encoder, build_outside
from mscl.models.weight_files import check_file
from storage.atomic import digest_file
from storage.user_paths import user_path

RANDOM = "random"
Kind = Literal["pushed", "folder", "torchvision", "function", "file"]


def kind_of(name: str) -> Kind:
    """What a name of an encoder means; a file or folder that is there comes before all that is called like it.

    `pushed`: a folder that `mscl push` wrote, `folder`: one of `transformers`, both here or on the hub.
    """
    from mscl.models import own_network, torchvision_networks

    place = _place(name)
    if place.is_dir():
        return "pushed" if (place / EXPORT_NAME).is_file() else "folder"
    if not place.exists() and name in torchvision_networks.names():
        return "torchvision"
    if not place.exists() and own_network.is_function_name(name):
        return "function"
    return "file"


def transformers_type(name: str) -> str:
    """The type of the model in a folder of `transformers`; empty for all else that a name may mean.

    Raises:
        CheckpointError: a folder that has none.
    """
    from mscl.models import transformers_networks

    return transformers_networks.model_type(_place(name)) if kind_of(name) == "folder" else ""


def named_file(name: str, *, own_code: bool = False) -> EncoderFile:
    """What `name` names: a file that `read_encoder` reads; a folder, here or on the hub (`hub:owner/name`), that
    `mscl push` or `transformers` wrote; a video network of torchvision with its published weights; `module:function`.
    `own_code`: as in `read_encoder`.

    Raises:
        CheckpointError: a file, a folder or weights that cannot be read.
        UserError: an extra that is not installed, a function that is not there.
    """
    from mscl.models import own_network, torchvision_networks, transformers_networks

    place = _place(name)
    match kind_of(name):
        case "pushed":
            return read_encoder(place / EXPORT_NAME, own_code=own_code)
        case "folder":
            return EncoderFile(transformers_networks.read_transformers(place), None)
        case "torchvision":
            encoder = build_outside(*torchvision_networks.torchvision_origin(name))
            weights = torchvision_networks.without_classifier(torchvision_networks.published_weights(name))
            load_matching(encoder.network.network, weights, source=f"torchvision's {name}")
            return EncoderFile(encoder, None)
        case "function":
            return EncoderFile(own_network.read_own(name), None)
        case "file":
            return read_encoder(place, own_code=own_code)


def external_encoder(name: str, *, model: ModelConfig, seed: int) -> Encoder:
    """The encoder that `name` names (`named_file`); `random`: the start of a training with this seed.

    Raises:
        CheckpointError: what cannot be read, or a file of this program whose backbone is not the one of `model`.
        UserError: as `named_file`.
    """
    if name == RANDOM:
        return untrained_encoder(model, seed=seed)
    file = named_file(name)
    found = file.model
    if found is not None and (found.backbone, found.rgb_width) != (model.backbone, model.rgb_width):
        raise CheckpointError(
            f"{name} holds backbone {found.backbone} at width {found.rgb_width:g}, and the settings ask for backbone "
            f"{model.backbone} at width {model.rgb_width:g}; set pretrain.model.backbone={found.backbone} "
            f"pretrain.model.rgb_width={found.rgb_width:g}, or give another file"
        )
    return file.encoder


def external_encoder_digest(name: str) -> str:
    """What tells an encoder from another: `random`, the sha256 of a file, of a folder's files, or of a function's
    module and the weights that it makes, or the name of torchvision's file.

    Raises:
        CheckpointError: no such file.
        StorageError: a file that may not be read.
        UserError: as `named_file`.
    """
    from mscl.models import torchvision_networks, transformers_networks

    if name == RANDOM:
        return RANDOM
    place = _place(name)
    match kind_of(name):
        case "pushed" | "folder":
            whole = hashlib.sha256()
            for one in transformers_networks.folder_files(place):
                whole.update(f"{one.name} {digest_file(one)}\n".encode())
            return whole.hexdigest()
        case "torchvision":
            return torchvision_networks.published_name(name)
        case "function":
            return _function_digest(name)
        case "file":
            check_file(place)
            return digest_file(place)


def _place(name: str) -> Path:
    return hub_folder(name) if is_hub_name(name) else user_path(name)


@lru_cache
def _function_digest(name: str) -> str:
    from importlib import import_module

    from mscl.models.own_network import read_own

    encoder = read_own(name)
    source = import_module(name.partition(":")[0]).__file__  # None of what is built into Python
    whole = hashlib.sha256(digest_file(Path(source)).encode() if source else b"")
    for tensor_name, tensor in encoder.state_dict().items():
        whole.update(tensor_name.encode())
        whole.update(tensor.contiguous().numpy().tobytes())
    return whole.hexdigest()
