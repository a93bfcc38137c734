"""The video encoder with a linear classifier on it, and its file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mscl.errors import CheckpointError
from mscl.finetune.config import FinetuneConfig
from mscl.models.config import ModelConfig
from mscl.models.encoders import VideoEncoder, build_rgb_encoder
from mscl.models.weight_files import read_safetensors, write_safetensors
from mscl.video.normalise import normalise_rgb

_FORMAT = "mscl-classifier-1"


class Classifier(nn.Module):
    """L4 global average -> dropout -> linear (METHOD 1.8)."""

    def __init__(self, encoder: VideoEncoder, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.feature_dim, num_classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, rgb_B3THW: Tensor) -> Tensor:
        """Logits (B, C) of ImageNet-normalised clips."""
        logits: Tensor = self.head(self.dropout(self.encoder(rgb_B3THW)))
        return logits

    def probabilities(self, rgb_BKTHW3: Tensor) -> Tensor:
        """Class probabilities (B, C) of uint8 videos of K clips: the mean of the clips' probabilities."""
        with torch.inference_mode():
            logits_NC: Tensor = self(normalise_rgb(rgb_BKTHW3.flatten(0, 1)))
            probabilities_BKC: Tensor = logits_NC.float().softmax(dim=1).unflatten(0, rgb_BKTHW3.shape[:2])
            return probabilities_BKC.mean(dim=1)


@dataclass(frozen=True)
class Trained:
    """A classifier from its file, with what is needed to use it on other videos."""

    classifier: Classifier
    classes: tuple[str, ...]
    finetune: FinetuneConfig
    source: dict[str, Any]
    """How the frames were made: gap in frames, short side of the stored frames."""


def save_classifier(
    path: Path,
    classifier: Classifier,
    *,
    classes: tuple[str, ...],
    model: ModelConfig,
    finetune: FinetuneConfig,
    source: dict[str, Any],
) -> None:
    """Write weights and settings as one safetensors file: nothing in it is executed when it is read."""
    card = {
        "format": _FORMAT,
        "classes": json.dumps(classes),
        "model": model.model_dump_json(),
        "finetune": finetune.model_dump_json(),
        "source": json.dumps(source),
    }
    write_safetensors(path, classifier.state_dict(), card)


def load_classifier(path: Path) -> Trained:
    """Read what `save_classifier` wrote; the classifier comes in eval mode, on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, or is not a classifier of this project.
    """
    if not path.is_file():
        raise CheckpointError(f"classifier {path} does not exist; run the finetune stage first")
    tensors, card = read_safetensors(path)
    if card.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path} holds {card.get('format', 'no format')!r}, not {_FORMAT!r}; "
            "give the classifier.safetensors that the finetune stage wrote"
        )
    classes = tuple(json.loads(card["classes"]))
    finetune = FinetuneConfig.model_validate_json(card["finetune"])
    encoder = build_rgb_encoder(ModelConfig.model_validate_json(card["model"]))
    classifier = Classifier(encoder, len(classes), dropout=finetune.dropout)
    classifier.load_state_dict(tensors)
    return Trained(classifier.eval(), classes, finetune, json.loads(card["source"]))
