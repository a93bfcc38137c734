"""What every training of this program is told: optimiser, schedule, precision."""

from typing import Literal

from pydantic import Field

from mscl.config.base import Fraction, Section

Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""In which networks compute; `auto` is the quickest that the device has natively."""


class OptimConfig(Section):
    """Optimiser and schedule."""

    name: Literal["sgd", "adamw"] = "sgd"
    """Optimiser: SGD with momentum, or AdamW."""
    lr: float = Field(default=0.02, gt=0)
    """Learning rate after the warm-up."""
    momentum: Fraction = 0.9
    """`sgd` only."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """L2 decay of all trained weights; `adamw` takes it decoupled from the gradient."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """D12: linear warm-up of the learning rate, in epochs."""
    schedule: Literal["cosine_epoch", "cosine_step", "constant"] = "cosine_epoch"
    """Cosine to 0, changed once an epoch (the paper's) or every step."""
    clip_norm: float = Field(default=40.0, gt=0)
    """Largest norm of the gradient; a larger one is scaled down to it."""
