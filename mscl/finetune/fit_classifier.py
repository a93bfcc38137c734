"""The classifier for the training loop (METHOD 1.8): its step, its curve, and what of it goes into a checkpoint."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from mscl.finetune.classifier import Classifier
from mscl.finetune.config import FinetuneConfig
from mscl.finetune.job import CHECKPOINTS, CURVE
from mscl.models.encoders import convolutions_channels_last
from mscl.schedules import learning_rate
from mscl.trackers.tracking import Tracking
from mscl.training.checkpoint import Checkpoints
from mscl.training.distributed import World
from mscl.training.epochs import steps_per_epoch
from mscl.training.fit import Finished, StopRequest, distributed, fit
from mscl.training.loader import Loader, make_loader
from mscl.training.metrics import Journal, StepMetrics
from mscl.training.precision import agreed_precision, autocast_of, gradient_scaler, refuse_wrong_gradients
from mscl.training.updater import Updater
from mscl.video.clips import LabelledBatch, TrainClips
from mscl.video.normalise import normalise_rgb
from storage.atomic import write_atomic
from storage.json_lines import read_json_lines

CHECKPOINT_MINUTES = 10.0
"""Between two checkpoints of an epoch; there is one at the end of each epoch, too."""
_KEPT = 2


class Curve:
    """A row per finished epoch: epoch, lr, loss, accuracy of the training clips as they were seen, and `val_top1`."""

    def __init__(self, device: torch.device) -> None:
        self.rows: list[dict[str, float]] = []
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)
        """Loss * n, right, n of this rank's share of the epoch so far."""

    def add(self, loss: Tensor, logits_BC: Tensor, label_B: Tensor) -> Tensor:
        """Count a batch; returns the share of it that was right."""
        size = len(label_B)
        right = (logits_BC.argmax(dim=1) == label_B).sum()
        self.sums += torch.stack([loss.detach() * size, right, torch.tensor(size, device=loss.device)]).double()
        return right / size

    def end_epoch(self, *, lr: float, world: World) -> dict[str, float]:
        """The epoch's row, over all ranks."""
        sums = self.sums.clone()
        if world.size > 1:
            dist.all_reduce(sums)
        loss, right, seen = sums.tolist()
        self.rows.append({"epoch": len(self.rows) + 1, "lr": lr, "loss": loss / seen, "accuracy": right / seen})
        return self.rows[-1]

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint; the sums are each rank's own."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.rows = cast(list[dict[str, float]], state["rows"])


def fit_classifier(
    classifier: Classifier,
    clips: TrainClips,
    *,
    config: FinetuneConfig,
    batch_size: int,
    folder: Path,
    world: World,
    workers: int,
    stop: StopRequest,
    validate: Callable[[], float] | None = None,
    tracking: Tracking | None = None,
) -> tuple[Finished, list[dict[str, float]]]:
    """Train for `config.epochs` epochs, or for what is left of them, and return the curve.

    Writes `folder/curve.jsonl` after every epoch. A stop waits for the step, and not for `validate`.

    Raises:
        ConfigError: bfloat16 on a CPU that gets it wrong.
        NonFiniteError: loss or gradient are not finite.
        CheckpointError: the checkpoint in the folder does not fit this run.
    """
    per_epoch = steps_per_epoch(len(clips), batch_size)
    total_steps = per_epoch * config.epochs
    convolutions_channels_last(classifier)
    classifier = classifier.to(world.device).train()
    refuse_wrong_gradients(config.precision, world.device, setting="finetune.precision")
    precision = agreed_precision(config.precision, world)
    updater = Updater(classifier, config.optim, scaler=gradient_scaler(precision, world.device))
    curve = Curve(world.device)
    step = _Step(
        distributed(classifier, world, broadcast_buffers=True),
        updater,
        curve,
        autocast=autocast_of(precision, world.device),
        world=world,
        per_epoch=per_epoch,
        seed=config.seed,
    )
    rate = partial(rate_at, config=config, total=total_steps, per_epoch=per_epoch)
    journal = Journal(
        folder,
        world,
        total_steps=total_steps,
        steps_per_epoch=per_epoch,
        batch_size=batch_size,
        advice=f"Lower finetune.optim.lr ({config.optim.lr:g})",
        tracking=tracking,
    )

    def loader(start: int) -> Loader[LabelledBatch]:
        return make_loader(
            clips,
            batch_size=batch_size,
            start_step=start,
            total_steps=total_steps,
            rank=world.rank,
            world_size=world.size,
            workers=workers,
            pin_memory=world.device.type == "cuda",
        )

    written = folder / CURVE

    def end_epoch(finished: int) -> None:
        if len(curve.rows) < finished:
            row = curve.end_epoch(lr=rate(finished * per_epoch - 1), world=world)
            if validate is not None:
                row["val_top1"] = validate()
                if not any("val_top1" in told and told.get("epoch") == finished for told in read_json_lines(written)):
                    journal.note(finished * per_epoch, {"val_top1": row["val_top1"]})
        if world.is_main:
            write_atomic(written, "".join(json.dumps(row) + "\n" for row in curve.rows).encode())

    finished = fit(
        step,
        loader,
        updater,
        rate_at=rate,
        checkpoints=Checkpoints(
            folder / CHECKPOINTS,
            world,
            parts={"classifier": classifier, "optimiser": updater, "curve": curve},
            own={"sums": curve.sums},
            settings=config.model_dump(mode="json"),
            before=config.done_before(),
            total_steps=total_steps,
            keep=_KEPT,
        ),
        journal=journal,
        stop=stop,
        world=world,
        checkpoint_minutes=CHECKPOINT_MINUTES,
        end_epoch=end_epoch,
    )
    return finished, curve.rows


@dataclass(frozen=True)
class _Step:
    """A batch forward, back, and into the curve."""

    trained: nn.Module
    updater: Updater
    curve: Curve
    _: KW_ONLY
    autocast: Callable[[], AbstractContextManager[object]]
    world: World
    per_epoch: int
    seed: int

    def __call__(self, raw: LabelledBatch, number: int) -> StepMetrics:
        epoch, position = divmod(number, self.per_epoch)
        if position == 0:
            torch.manual_seed(_seed(self.seed, epoch, self.world.rank))  # dropout
            self.trained.train()
            self.curve.sums.zero_()
        batch = raw.to(self.world.device, non_blocking=True)
        rgb_B3THW = normalise_rgb(batch.rgb_BKTHW3[:, 0]).contiguous(memory_format=torch.channels_last_3d)
        with self.autocast():
            logits_BC = self.trained(rgb_B3THW)
            loss = F.cross_entropy(logits_BC, batch.label_B)
        self.updater.backward(loss)
        grad_norm = self.updater.step()
        accuracy = self.curve.add(loss, logits_BC, batch.label_B)
        values = {"loss": loss, "grad_norm": grad_norm, "accuracy": accuracy} | self.updater.values()
        return StepMetrics(values, raw.segment_B)


def rate_at(step: int, *, config: FinetuneConfig, total: int, per_epoch: int) -> float:
    """Learning rate of a global step: warm-up and schedule, times a factor after each milestone epoch."""
    base = learning_rate(
        step,
        base=config.optim.lr,
        total_steps=total,
        steps_per_epoch=per_epoch,
        warmup_steps=round(config.optim.warmup_epochs * per_epoch),
        schedule=config.optim.schedule,
    )
    passed = sum(step >= milestone * per_epoch for milestone in config.milestones)
    return base * config.milestone_factor**passed


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
