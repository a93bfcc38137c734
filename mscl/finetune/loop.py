"""Supervised training of the encoder and a linear classifier (METHOD 1.8), one epoch after the other.

One code path for one process and for many. An epoch is the unit of resuming: its random numbers come from
(seed, epoch, rank) alone, and its end is a checkpoint, so a resumed run gives the losses of an unbroken one.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from mscl.errors import DataError
from mscl.finetune.classifier import Classifier
from mscl.finetune.config import FinetuneConfig
from mscl.finetune.job import RESUME
from mscl.models.weight_files import read_checkpoint, write_checkpoint
from mscl.schedules import learning_rate
from mscl.training.distributed import World
from mscl.training.loader import make_eval_loader, make_loader, steps_per_epoch
from mscl.video.clips import EvalClips, LabelledBatch, TrainClips
from mscl.video.normalise import normalise_rgb
from storage.atomic import write_atomic

Probabilities = np.ndarray[Any, np.dtype[np.float32]]


def train(
    classifier: Classifier,
    clips: TrainClips,
    *,
    config: FinetuneConfig,
    batch_size: int,
    folder: Path,
    world: World,
    workers: int,
    validate: Callable[[], float] | None = None,
) -> list[dict[str, float]]:
    """Train for `config.epochs` epochs, or for those that are left, and return the curve.

    Writes `folder/last.pt` (resume point) and `folder/curve.jsonl` after every epoch: epoch, lr, loss, accuracy
    of the training clips as they were seen, and `val_top1` where `validate` is given.

    Raises:
        DataError: a loss that is not finite.
    """
    per_epoch = steps_per_epoch(len(clips), batch_size)
    total = per_epoch * config.epochs
    model: nn.Module = classifier.to(memory_format=torch.channels_last_3d).to(world.device)
    optimiser = _optimiser(classifier, config)
    curve = _restore(folder / RESUME, classifier, optimiser)
    start = len(curve) * per_epoch
    if start == total:
        return curve
    if world.size > 1:
        model = DistributedDataParallel(model, device_ids=[world.device] if world.device.type == "cuda" else None)
    loader = make_loader(
        clips,
        batch_size=batch_size,
        start_step=start,
        total_steps=total,
        rank=world.rank,
        world_size=world.size,
        workers=workers,
        pin_memory=world.device.type == "cuda",
    )
    sums = torch.zeros(3, dtype=torch.float64, device=world.device)
    for step, batch in enumerate(loader, start):
        epoch, position = divmod(step, per_epoch)
        if position == 0:
            torch.manual_seed(_seed(config.seed, epoch, world.rank))  # dropout
            model.train()
            sums.zero_()
        rate = rate_at(step, config=config, total=total, per_epoch=per_epoch)
        for group in optimiser.param_groups:
            group["lr"] = rate
        sums += _step(model, batch.to(world.device, non_blocking=True), optimiser, config)
        if position == per_epoch - 1:
            if world.size > 1:
                dist.all_reduce(sums)
            loss, right, seen = sums.tolist()
            if not np.isfinite(loss):
                raise DataError(
                    f"fine-tuning: the loss of epoch {epoch + 1} is not finite; lower finetune.optim.lr ({rate:g})"
                )
            row = {"epoch": epoch + 1, "lr": rate, "loss": loss / seen, "accuracy": right / seen}
            if validate is not None:
                row["val_top1"] = validate()
            curve.append(row)
            if world.is_main:
                _save(folder, classifier, optimiser, curve)
    return curve


def rate_at(step: int, *, config: FinetuneConfig, total: int, per_epoch: int) -> float:
    """Learning rate of a global step: warm-up and schedule, and a tenth of it after each milestone epoch."""
    base = learning_rate(
        step,
        base=config.optim.lr,
        total_steps=total,
        steps_per_epoch=per_epoch,
        warmup_steps=round(config.optim.warmup_epochs * per_epoch),
        schedule=config.optim.schedule,
    )
    passed = sum(step >= milestone * per_epoch for milestone in config.milestones)
    return base * 0.1**passed


def predict_all(
    classifier: Classifier, clips: EvalClips, *, videos_per_batch: int, world: World, workers: int
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
        probabilities.append(classifier.probabilities(batch.rgb_BKTHW3).cpu().numpy())
        rows.append(batch.segment_B.cpu().numpy())
    own = (np.concatenate(probabilities), np.concatenate(rows)) if rows else None
    parts: list[tuple[Probabilities, np.ndarray[Any, np.dtype[np.int64]]] | None] = [own]
    if world.size > 1:
        parts = [None] * world.size
        dist.all_gather_object(parts, own)
    filled = [part for part in parts if part is not None]
    return np.concatenate([p for p, _ in filled]), np.concatenate([r for _, r in filled])


def _step(model: nn.Module, batch: LabelledBatch, optimiser: torch.optim.Optimizer, config: FinetuneConfig) -> Tensor:
    """One optimiser step; returns (loss * n, right, n) of this rank's share."""
    rgb_B3THW = normalise_rgb(batch.rgb_BKTHW3[:, 0]).contiguous(memory_format=torch.channels_last_3d)
    logits_BC = model(rgb_B3THW)
    loss = F.cross_entropy(logits_BC, batch.label_B)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm)
    optimiser.step()
    right = (logits_BC.argmax(dim=1) == batch.label_B).sum()
    size = len(batch.label_B)
    return torch.stack([loss.detach() * size, right, torch.tensor(size, device=loss.device)]).double()


def _optimiser(classifier: Classifier, config: FinetuneConfig) -> torch.optim.Optimizer:
    optim = config.optim
    if optim.name == "adamw":
        return torch.optim.AdamW(classifier.parameters(), lr=optim.lr, weight_decay=optim.weight_decay)
    return torch.optim.SGD(
        classifier.parameters(), lr=optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay
    )


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _restore(path: Path, classifier: Classifier, optimiser: torch.optim.Optimizer) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    state = read_checkpoint(path)
    classifier.load_state_dict(state["classifier"])
    optimiser.load_state_dict(state["optimiser"])
    return cast(list[dict[str, float]], state["curve"])


def _save(
    folder: Path, classifier: Classifier, optimiser: torch.optim.Optimizer, curve: list[dict[str, float]]
) -> None:
    state = {"classifier": classifier.state_dict(), "optimiser": optimiser.state_dict(), "curve": curve}
    write_checkpoint(folder / RESUME, state)
    write_atomic(folder / "curve.jsonl", "".join(json.dumps(row) + "\n" for row in curve).encode())
