"""Losses on their way to the log: summed on the device, read every few steps, written down and told to trackers."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor

from mscl.errors import UserError
from mscl.trackers.couriers import Couriers
from mscl.trackers.tracker import Ending
from mscl.trackers.tracking import Tracking
from mscl.training.distributed import World
from mscl.training.messages import say
from mscl.training.progress import METRICS_NAME
from storage.atomic import write_atomic
from storage.json_lines import read_json_lines

TIMES = ("seconds", "clips_per_second", "data_wait")
"""Values of a row that differ from run to run."""


class NonFiniteError(UserError):
    """A loss or gradient stopped being a number."""


@dataclass(frozen=True)
class StepMetrics:
    """What one optimiser step says of itself; its tensors are on the device, and nothing has waited for them."""

    values: dict[str, Tensor]
    """Scalars. `loss` and `grad_norm` are among them and must be finite."""
    segment_B: Tensor
    """What the step was computed from, as rows of the usable manifest; on the CPU."""
    settings: dict[str, float] = field(default_factory=dict)
    """Numbers that a schedule gives this step."""


class Meter:
    """Means of every value since the last reading.

    `add` only queues work on the device; `read` waits for it once.

    Args:
        advice: what to change when a loss is not finite.
    """

    def __init__(self, folder: Path, world: World, *, advice: str) -> None:
        self.folder = folder
        self.world = world
        self.advice = advice
        self.names: list[str] = []
        self.sums: Tensor | None = None
        self.critical: list[Tensor] = []
        self.seen: list[tuple[int, list[int]]] = []

    def add(self, step: int, metrics: StepMetrics) -> None:
        """One finished step (global number, from 1)."""
        first = ("loss", "grad_norm")
        self.names = [*first, *(name for name in metrics.values if name not in first)]
        row = torch.stack([metrics.values[name].detach() for name in self.names]).double()
        self.sums = row if self.sums is None else self.sums + row
        self.critical.append(row[:2])
        self.seen.append((step, metrics.segment_B.tolist()))

    def read(self) -> dict[str, float]:
        """Means over the steps since the last reading and over ranks; starts anew. Empty without a step.

        Raises:
            NonFiniteError: in one of these steps the loss or the gradient was not finite; the segments of that
                step are saved in the folder.
        """
        if self.sums is None:
            return {}
        for (step, segments), (loss, grad_norm) in zip(self.seen, torch.stack(self.critical).tolist(), strict=True):
            if not (_finite(loss) and _finite(grad_norm)):
                raise self._stop(step, loss, grad_norm, segments)
        means = self.sums / len(self.seen)
        if self.world.size > 1:
            dist.all_reduce(means)
            means /= self.world.size
        self.sums, self.critical, self.seen = None, [], []
        return dict(zip(self.names, means.tolist(), strict=True))

    def _stop(self, step: int, loss: float, grad_norm: float, segments: list[int]) -> NonFiniteError:
        path = self.folder / f"nonfinite-rank{self.world.rank}.json"
        content = {"step": step, "loss": str(loss), "grad_norm": str(grad_norm), "segments": segments}
        write_atomic(path, json.dumps(content).encode())
        return NonFiniteError(
            f"step {step}: loss {loss:g}, gradient norm {grad_norm:g} is not finite; the batch's segments "
            f"{segments[:8]}{'...' if len(segments) > 8 else ''} are saved in {path.name}. {self.advice}, "
            "or look at these segments; the last checkpoint is from before"
        )


class Journal:
    """Times and metrics of the steps of one rank; rank 0 writes a row whenever told to.

    Use it as a context manager, begun at the step from which the run goes on.
    """

    def __init__(
        self,
        folder: Path,
        world: World,
        *,
        total_steps: int,
        steps_per_epoch: int,
        batch_size: int,
        advice: str,
        tracking: Tracking | None = None,
    ) -> None:
        self.folder = folder
        self.meter = Meter(folder, world, advice=advice)
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.last: dict[str, float] = {}
        """Of the last row: what does not differ from run to run."""
        self._tracking = tracking or Tracking()
        self._log: MetricsLog | None = None
        self._noted: list[tuple[int, Mapping[str, float]]] = []
        self._settings: dict[str, float] = {}
        self._waited_s = 0.0
        self._began = self._read_at = self._ready_at = time.monotonic()

    def resumed_at(self, step: int) -> None:
        """Say what damage took from the curve of a run that goes on, or ends, at a checkpoint, and remove its rest."""
        if self.meter.world.is_main and step and (lost := lost_rows(self.folder / METRICS_NAME, step)):
            say(lost)
            _drop_rows(self.folder / METRICS_NAME, step)

    def begun_at(self, step: int) -> Self:
        """Drop the rows past a checkpoint and start the clocks."""
        if self.meter.world.is_main:
            self._log = MetricsLog(self.folder, self._tracking, first_step=step)
            for noted, values in self._noted:
                self.note(noted, values)
        self._began = self._read_at = self._ready_at = time.monotonic()
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._log is not None:
            done = self.last.get("step") == self.total_steps
            self._log.close("failed" if error else "finished" if done else "stopped")

    def data_arrived(self) -> None:
        """The step's batch is here; the time since the step before was waiting."""
        self._waited_s += time.monotonic() - self._ready_at

    def step_done(self, step: int, metrics: StepMetrics) -> None:
        """The work of `step` (from 1) is given to the device."""
        self.meter.add(step, metrics)
        self._settings = metrics.settings
        self._ready_at = time.monotonic()

    def write(self, step: int, *, lr: float) -> None:
        """A row about the steps since the last one; waits for the device. Call it on all ranks.

        Raises:
            NonFiniteError: see `Meter.read`.
        """
        steps = len(self.meter.seen)
        means = self.meter.read()
        now = time.monotonic()
        row = {
            "step": step,
            "total_steps": self.total_steps,
            "epoch": step / self.steps_per_epoch,
            "seconds": now - self._began,
            "lr": lr,
            **self._settings,
            "clips_per_second": steps * self.batch_size / (now - self._read_at),
            "data_wait": self._waited_s / (now - self._read_at),
            **means,
        }
        self.last = {name: value for name, value in row.items() if name not in TIMES}
        if self._log is not None:
            self._log.write(row)
        self._read_at, self._waited_s = now, 0.0

    def note(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers beside the rows, for trackers: of an epoch, say. Before `begun_at` they wait for it."""
        if self._log is None:
            self._noted.append((step, values))
        else:
            self._log.trackers.note(step, {_tag(name): value for name, value in values.items()})


class MetricsLog:
    """`metrics.jsonl` of one run, whose rows are told to trackers; those past the resumed step are dropped first."""

    def __init__(self, folder: Path, tracking: Tracking, *, first_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / METRICS_NAME
        before = read_metrics(self.path)
        kept = _drop_rows(self.path, first_step)
        self.seconds_before = float(kept[-1].get("seconds", 0.0)) if kept else 0.0
        self.file = self.path.open("a")
        last_step = int(before[-1]["step"]) if before else 0
        self.trackers = Couriers(tracking, folder, warn=say, first_step=first_step, last_step=last_step)
        for row in kept:  # a tracker that was not there knows none of them
            self._tell(row)

    def write(self, row: Mapping[str, float]) -> None:
        """One row; `step` is its place on the axis, and `seconds` count from the run's first beginning."""
        row = {**row, "seconds": self.seconds_before + row["seconds"]}
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        self._tell(row)

    def _tell(self, row: Mapping[str, float]) -> None:
        values = {_tag(name): row[name] for name in row if name not in ("step", "total_steps", "seconds")}
        self.trackers.log(int(row["step"]), values)

    def close(self, ending: Ending) -> None:
        """Flush to the disk."""
        os.fsync(self.file.fileno())
        self.file.close()
        self.trackers.close(ending)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a `metrics.jsonl`; what a kill tore off or damage made unreadable is left out."""
    return [
        row
        for row in read_json_lines(path)
        if isinstance(row.get("step"), int) and all(isinstance(value, int | float) for value in row.values())
    ]


def _drop_rows(path: Path, step: int) -> list[dict[str, float]]:
    """Write a `metrics.jsonl` anew with its rows up to a step, and return them: what is no row is in no new record."""
    kept = [row for row in read_metrics(path) if row["step"] <= step]
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in kept).encode())
    return kept


def lost_rows(path: Path, step: int) -> str:
    """One line about what a `metrics.jsonl` has not of the steps up to a checkpoint; empty where nothing is missing.

    The first step and every step with a checkpoint have a row. Rows cannot be made again without the training.
    """
    rows = read_metrics(path)
    seen = {row["step"] for row in rows}
    *lines, _torn = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    if {1, step} <= seen and len(lines) == len(rows):
        return ""
    left = len([number for number in seen if number <= step])
    return (
        f"{path.name} was damaged: of the loss curve up to step {step:,} it holds {left:,} points, and the rest cannot "
        "be made again without training anew (--force); the training itself goes on from its checkpoint, which is whole"
    )


def _tag(name: str) -> str:
    if name.endswith("_top1"):
        return f"top1/{name.removesuffix('_top1')}"
    run = ("epoch", "lr", "key_momentum", "clips_per_second", "data_wait", "grad_norm", "left_out")
    return f"run/{name}" if name in run else f"loss/{name}"


def _finite(value: float) -> bool:
    return abs(value) < float("inf")  # False for NaN, too
