"""Video encoders of Hugging Face's `transformers` (extra of that name): VideoMAE, V-JEPA 2, TimeSformer."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from mscl.errors import AssumptionWarning, CheckpointError, UserError
from mscl.models.clip_contract import Contract
from mscl.models.outside_encoder import Origin, OutsideEncoder
from mscl.video.config import IMAGENET_MEAN, IMAGENET_STD

_STEP_FRAMES = {"videomae": 4, "vjepa2": 4, "timesformer": 32}
"""Source frames from one frame of a clip to the next. No file says it; these are of the papers' evaluation on Kinetics:
16 x 4, 16 x 4, 8 x 32."""
_VJEPA_FRAMES = 16
"""What V-JEPA 2 is evaluated with, whatever number its last training had (64 of the published ones)."""
_PREPROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json")


class TransformersNetwork(nn.Module):
    """A video encoder of `transformers`, in its own names."""

    def __init__(self, network: nn.Module, kind: str) -> None:
        super().__init__()
        # V-JEPA 2 predicts hidden tokens of its encoder, which is all that is scored. To the type checker any attribute
        # of a module may be a tensor.
        self.network: nn.Module = network.encoder if kind == "vjepa2" else network  # type: ignore[assignment]
        self.has_class_token = kind == "timesformer"
        # A frame alone is shown as often as that; of an odd one at the end nothing would be read.
        self.frames_together: int = int(getattr(network.config, "tubelet_size", 1))
        self.feature_dim: int = int(network.config.hidden_size)  # type: ignore[union-attr, arg-type]

    def forward(self, x_B3THW: Tensor) -> Tensor:
        """Features (B, C): TimeSformer's class token, else the mean over the tokens."""
        tokens_BNC = self._tokens(x_B3THW)
        return tokens_BNC[:, 0] if self.has_class_token else tokens_BNC.mean(dim=1)

    def tokens(self, x_B3THW: Tensor) -> Tensor:
        """The last layer's tokens of places and times (B, N, C)."""
        tokens_BNC = self._tokens(x_B3THW)
        return tokens_BNC[:, 1:] if self.has_class_token else tokens_BNC

    def _tokens(self, x_B3THW: Tensor) -> Tensor:
        if self.has_class_token:
            # TimeSformer tells places from times by this number, not by that of the clip: with another one it would
            # take some for the others, and say nothing where the tokens divide.
            self.network.config.num_frames = x_B3THW.shape[2]  # type: ignore[union-attr]
        last: Tensor = self.network(x_B3THW.transpose(1, 2)).last_hidden_state
        return last


def transformers_network(kind: str, config: Mapping[str, Any]) -> TransformersNetwork:
    """The network of a configuration, with random weights.

    Raises:
        CheckpointError: another type than those above, or a configuration that does not fit it.
        UserError: `transformers` is not installed.
    """
    library = _transformers(kind)
    _check_type(kind, "the encoder's card")
    try:
        described = library.AutoConfig.for_model(kind, **{k: v for k, v in config.items() if k != "model_type"})
        return TransformersNetwork(library.AutoModel.from_config(described), kind)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the configuration of {kind} does not fit transformers {library.__version__}: {_first_line(error)}"
        ) from error


def read_transformers(folder: Path) -> OutsideEncoder:
    """The encoder in a folder as `save_pretrained` and the hub have it; nothing in it executes.

    Raises:
        CheckpointError: no such folder, another type of model, or weights that lack some of the encoder's.
        UserError: `transformers` is not installed.
    """
    kind = model_type(folder)
    _check_type(kind, str(folder))
    library = _transformers(str(folder))
    try:
        with _no_bar(library):
            network, told = library.AutoModel.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} cannot be read by transformers: {_first_line(error)}") from error
    wrong = sorted({*told["missing_keys"], *(str(one[0]) for one in told["mismatched_keys"])})
    wrong = [name for name in wrong if kind != "vjepa2" or name.startswith("encoder.")]
    if wrong:
        raise CheckpointError(
            f"{folder} lacks {len(wrong)} of the encoder's tensors or has them in other shapes ({', '.join(wrong[:3])})"
        )
    origin = Origin(kind="transformers", name=kind, config=_plain(network.config.to_dict()))
    contract = _contract(folder, network.config, kind)
    return OutsideEncoder(TransformersNetwork(network.float(), kind), origin, contract).eval()


def model_type(folder: Path) -> str:
    """What the folder says that it holds.

    Raises:
        CheckpointError: it is no folder of `transformers`.
    """
    path = folder / "config.json"
    try:
        return str(json.loads(path.read_text())["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} is no model of transformers: {path.name} cannot be used ({_first_line(error)}); give a folder "
            "that save_pretrained wrote"
        ) from error


def folder_files(folder: Path) -> list[Path]:
    """The files of such a folder that decide what its encoder computes."""
    endings = (".json", ".safetensors", ".bin")
    return sorted(path for path in folder.iterdir() if path.suffix in endings and path.is_file())


def _contract(folder: Path, config: Any, kind: str) -> Contract:
    vjepa = kind == "vjepa2"
    crop_px = int(config.crop_size if vjepa else config.image_size)
    frames = min(_VJEPA_FRAMES, config.frames_per_clip) if vjepa else config.num_frames
    path = next((folder / name for name in _PREPROCESSORS if (folder / name).is_file()), None)
    try:
        said: dict[str, Any] = {} if path is None else json.loads(path.read_text())
        size = said.get("size", crop_px)
        short_side_px = size.get("shortest_edge", crop_px) if isinstance(size, dict) else size
        mean, std = said.get("image_mean"), said.get("image_std")
        if mean is None or std is None:
            mean, std = IMAGENET_MEAN, IMAGENET_STD
            warnings.warn(
                f"{folder} does not say with which mean and deviation its frames are normalised "
                f"({' or '.join(_PREPROCESSORS)}); assumed: ImageNet's",
                AssumptionWarning,
                stacklevel=4,
            )
        if said.get("do_normalize") is False:
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return Contract.of_clips(
            mean=mean, std=std, length=frames, step_frames=_STEP_FRAMES[kind], crop_px=crop_px,
            short_side_px=max(short_side_px, crop_px), px=(crop_px, crop_px),
            # V-JEPA 2 turns by time and TimeSformer stretches its times, so they take other numbers, too.
            frames=(frames, frames) if kind == "videomae" else (1, None),
        )  # fmt: skip
    except ValidationError as error:
        raise CheckpointError(f"{path or folder} cannot be used: {error.errors()[0]['msg']}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path or folder} cannot be used: {_first_line(error)}") from error


def _check_type(kind: str, source: str) -> None:
    if kind not in _STEP_FRAMES:
        raise CheckpointError(
            f"{source} is a {kind!r} of transformers, and the video encoders that are read are "
            f"{', '.join(_STEP_FRAMES)}; wrap another one in a function of your own (pretrain.encoder=module:function)"
        )


def _transformers(asker: str) -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            f"{asker} is read by transformers, which is not installed: pip install 'mscl-pipeline[transformers]'"
        ) from error
    return transformers


@contextmanager
def _no_bar(library: ModuleType) -> Iterator[None]:
    """Its bar would write into our progress."""
    was_on = library.logging.is_progress_bar_enabled()
    library.logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            library.logging.enable_progress_bar()


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as JSON; names of labels and of the program that wrote it are of no use to an encoder."""
    left_out = ("id2label", "label2id", "architectures", "transformers_version", "_name_or_path", "model_type")
    plain: dict[str, Any] = json.loads(json.dumps({k: v for k, v in config.items() if k not in left_out}))
    return plain


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
