"""Class probabilities of stored videos, by all processes together."""

from typing import Any

import numpy as np
import torch.distributed as dist

from mscl.finetune.classifier import Classifier
from mscl.training.config import Precision
from mscl.training.distributed import World
from mscl.training.loader import make_eval_loader
from mscl.video.clips import EvalClips

Probabilities = np.ndarray[Any, np.dtype[np.float32]]


def predict_all(
    classifier: Classifier,
    clips: EvalClips,
    *,
    videos_per_batch: int,
    world: World,
    workers: int,
    precision: Precision = "auto",
) -> tuple[Probabilities, np.ndarray[Any, np.dtype[np.int64]]]:
    """Class probabilities (N, C) and rows (N,) of all videos, in order, the same on every rank."""
    loader = make_eval_loader(
        clips,
        batch_size=videos_per_batch,
        rank=world.rank,
        world_size=world.size,
        workers=workers,
        pin_memory=world.device.type == "cuda",
    )
    if world.size > 1:
        # The running statistics of batch norm are each rank's own; all test with the first rank's.
        for buffer in classifier.buffers():
            dist.broadcast(buffer, 0)
    classifier.eval()
    probabilities: list[Probabilities] = []
    rows: list[np.ndarray[Any, np.dtype[np.int64]]] = []
    for batch in loader:
        batch = batch.to(world.device, non_blocking=True)
        probabilities.append(classifier.probabilities(batch.rgb_BKTHW3, precision=precision).cpu().numpy())
        rows.append(batch.segment_B.cpu().numpy())
    own = (np.concatenate(probabilities), np.concatenate(rows)) if rows else None
    parts: list[tuple[Probabilities, np.ndarray[Any, np.dtype[np.int64]]] | None] = [own]
    if world.size > 1:
        parts = [None] * world.size
        dist.all_gather_object(parts, own)
    filled = [part for part in parts if part is not None]
    return np.concatenate([p for p, _ in filled]), np.concatenate([r for _, r in filled])
