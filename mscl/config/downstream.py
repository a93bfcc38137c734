"""What is measured on a pre-trained encoder (METHOD 1.8)."""

from typing import Literal

from pydantic import Field, model_validator

from mscl.config.base import Fraction, PositiveInt, Section
from mscl.config.pretrain import OptimConfig


class EmbedConfig(Section):
    """Features of every segment: L4 global average, averaged over the clips of a video."""

    clips: PositiveInt = 10
    """Clips per video, evenly spaced."""
    crop_px: PositiveInt = 112
    """Centre crop; smaller videos are enlarged to it."""
    batch_size: PositiveInt = 32
    controls: bool = True
    """Also embed with the untrained encoder, and frozen-frame clips with both: the controls that a
    result needs."""


class ProbeConfig(Section):
    """Linear classifier on frozen features."""

    l2: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)
    """Candidates of the regularisation strength 1/C, chosen by cross-validation on the train split."""
    folds: int = Field(default=3, ge=2)
    seed: int = Field(default=0, ge=0)


class RetrieveConfig(Section):
    """Nearest neighbours by cosine: query = test split, gallery = train split."""

    ks: tuple[PositiveInt, ...] = (1, 5, 10, 20, 50)
    neighbours: PositiveInt = 10
    """Neighbours kept per query, for the pictures."""


class FinetuneConfig(Section):
    """Supervised training of encoder and classifier; the defaults are the SSv2 setting of METHOD 1.8."""

    enabled: bool = True
    """Off: the stage is skipped and its record says so."""
    initial: Literal["pretrained", "random"] = "pretrained"
    sampling: Literal["segments", "clip"] = "segments"
    """`segments`: one frame of each of `frames` equal parts. `clip`: consecutive, `stride` apart."""
    frames: PositiveInt = 16
    stride: PositiveInt = 8
    """Index units; `clip` sampling only."""
    crop_px: PositiveInt = 112
    area: tuple[float, float] = (0.2, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: Fraction = 0.0
    """No flip by default: in SSv2 direction carries the label."""
    dropout: Fraction = 0.5
    optim: OptimConfig = OptimConfig(lr=0.12, weight_decay=1e-6, schedule="constant")
    milestones: tuple[PositiveInt, ...] = (14, 18)
    """Epochs after which the learning rate falls to a tenth."""
    epochs: PositiveInt = 22
    batch_size: PositiveInt = 32
    test_crop_px: PositiveInt = 128
    test_clips: PositiveInt = 1
    """Clips per test video whose probabilities are averaged."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _milestones_inside(self) -> "FinetuneConfig":
        late = [m for m in self.milestones if m >= self.epochs]
        if late:
            raise ValueError(f"milestones {late} are not below epochs {self.epochs}; lower them or raise epochs")
        return self
