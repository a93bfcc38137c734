"""Schedules as functions of the global step, so that a resumed run needs no phase of its own (D8)."""

import math
from typing import Literal

Schedule = Literal["cosine_epoch", "cosine_step", "constant"]


def key_momentum(progress: float, *, base: float = 0.994) -> float:
    """EMA momentum of the key networks (METHOD 1.7): rises from `base` to 1 along half a cosine.

    Args:
        progress: samples seen / samples of the whole run; above 1 it counts as 1.
    """
    return 1 - 0.5 * (1 - base) * (math.cos(math.pi * min(progress, 1.0)) + 1)


def learning_rate(
    step: int,
    *,
    base: float,
    total_steps: int,
    steps_per_epoch: int,
    warmup_steps: int,
    schedule: Schedule,
) -> float:
    """Learning rate of global step `step` (from 0): a cosine from `base` to 0, times a linear warm-up (D12).

    `cosine_epoch` moves once an epoch (the paper's), `cosine_step` every step. During the first
    `warmup_steps` steps the rate is scaled by (step + 1) / warmup_steps: the warm-up is real.
    """
    if schedule == "constant":
        decayed = base
    else:
        done = step // steps_per_epoch * steps_per_epoch if schedule == "cosine_epoch" else step
        decayed = 0.5 * base * (1 + math.cos(math.pi * min(done / total_steps, 1.0)))
    return decayed * min(1.0, (step + 1) / warmup_steps) if warmup_steps else decayed
