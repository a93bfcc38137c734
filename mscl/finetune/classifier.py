"""The video encoder with a linear classifier on it, and its file."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mscl.errors import AssumptionWarning, CheckpointError, UserError
from mscl.extract.config import FlowConfig
from mscl.finetune.config import FinetuneConfig
from mscl.ingest.config import DataConfig
from mscl.models.config import ModelConfig
from mscl.models.files import load_matching, network_card, network_of_card, unfit_file
from mscl.models.outside_encoder import Encoder, OutsideEncoder
from mscl.models.weight_files import read_safetensors, write_safetensors
from mscl.training.config import Precision
from mscl.training.precision import inference
from mscl.video.frame_recipe import EncoderInput, FrameRecipe
from mscl.video.normalise import normalise_rgb

_FORMAT, _FORMAT_1 = "mscl-classifier-2", "mscl-classifier-1"


class Classifier(nn.Module):
    """L4 global average -> dropout -> linear (METHOD 1.8)."""

    def __init__(self, encoder: Encoder, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.feature_dim, num_classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, rgb_B3THW: Tensor) -> Tensor:
        """Logits (B, C) of ImageNet-normalised clips.

        In float32 also under autocast: bfloat16 makes many of the largest two equal, and the first class would win.
        """
        features_BC: Tensor = self.dropout(self.encoder(rgb_B3THW))
        with torch.autocast(features_BC.device.type, enabled=False):
            logits: Tensor = self.head(features_BC.to(self.head.weight.dtype))
        return logits

    def probabilities(self, rgb_BKTHW3: Tensor, *, precision: Precision = "auto") -> Tensor:
        """Class probabilities (B, C) of uint8 videos of K clips: the mean of the clips' probabilities."""
        with inference(precision, rgb_BKTHW3.device):
            logits_NC: Tensor = self(normalise_rgb(rgb_BKTHW3.flatten(0, 1)))
            probabilities_BKC: Tensor = logits_NC.float().softmax(dim=1).unflatten(0, rgb_BKTHW3.shape[:2])
            return probabilities_BKC.mean(dim=1)


@dataclass(frozen=True)
class Trained:
    """A classifier from its file, with what is needed to use it on other videos."""

    classifier: Classifier
    classes: tuple[str, ...]
    finetune: FinetuneConfig
    input: EncoderInput
    """What a video goes through to be classified as in the test."""


def save_classifier(
    path: Path,
    classifier: Classifier,
    *,
    classes: tuple[str, ...],
    model: ModelConfig,
    finetune: FinetuneConfig,
    encoder_input: EncoderInput,
) -> None:
    """Write weights and settings as one safetensors file: nothing in it is executed when it is read."""
    card = {
        "format": _FORMAT,
        "classes": list(classes),
        **(
            network_card(classifier.encoder, None)
            if isinstance(classifier.encoder, OutsideEncoder)
            else {"model": model.model_dump(mode="json")}
        ),
        "finetune": finetune.model_dump(mode="json"),
        "encoder_input": encoder_input.model_dump(mode="json"),
    }
    write_safetensors(path, classifier.state_dict(), card)


def load_classifier(path: Path, *, own_code: bool = False) -> Trained:
    """Read what `save_classifier` wrote; the classifier comes in eval mode, on the CPU.

    Files of format 1 do not say all that a video goes through: a warning tells what is assumed. `own_code`: whether a
    function may be called that the file names, which builds its network.

    Raises:
        CheckpointError: the file is missing, damaged, or is not a classifier of this project.
    """
    if not path.exists():
        raise CheckpointError(f"classifier {path} does not exist; run the finetune stage first")
    tensors, card = read_safetensors(path)
    if card.get("format") not in (_FORMAT, _FORMAT_1):
        raise CheckpointError(
            f"{path} holds {card.get('format', 'no format')!r}, not {_FORMAT!r}; "
            "give the classifier.safetensors that the finetune stage wrote"
        )
    try:
        if card["format"] == _FORMAT_1:  # its values are JSON texts
            card = {name: json.loads(text) for name, text in card.items() if name != "format"}
        classes = tuple(str(name) for name in card["classes"])
        finetune = FinetuneConfig.model_validate(card["finetune"])
        network = card if "origin" in card else {"model_config": card["model"]}
        encoder, _ = network_of_card(network, source=str(path), own_code=own_code)
        if "source" in card:
            encoder_input = _of_format_1(finetune, card["source"], path)
        else:
            encoder_input = EncoderInput.model_validate(card["encoder_input"])
    except UserError:  # a module or an extra that is not there: nothing is wrong with the file
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise unfit_file(path, "classifier of this program", error) from error
    classifier = Classifier(encoder, len(classes), dropout=finetune.dropout)
    load_matching(classifier, tensors, source=str(path))
    return Trained(classifier.eval(), classes, finetune, encoder_input)


def _of_format_1(finetune: FinetuneConfig, source: dict[str, int], path: Path) -> EncoderInput:
    recipe = FlowConfig().recipe.model_dump() | source
    seconds = DataConfig().max_segment_seconds
    assumed = {name: value for name, value in recipe.items() if name not in source} | {"max_segment_seconds": seconds}
    warnings.warn(
        f"{path} does not say all that its videos went through; assumed: "
        f"{', '.join(f'{name} {value}' for name, value in assumed.items())}. Fine-tune again where that is wrong",
        AssumptionWarning,
        stacklevel=3,
    )
    return finetune.test_input(FrameRecipe.model_validate(recipe), max_segment_seconds=seconds)
