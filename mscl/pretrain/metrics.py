"""Losses on their way to the log: summed on the device, read every few steps, written for people and TensorBoard."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from mscl.errors import UserError
from mscl.pretrain.step import StepResult
from mscl.training.distributed import World
from storage.atomic import write_atomic


class NonFiniteError(UserError):
    """A loss or gradient stopped being a number."""


class Meter:
    """Means of every term's value and top-1, of their sum and of the gradient norm, since the last reading.

    `add` only queues work on the device; `read` waits for it once.
    """

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        self.world = world
        self.names: list[str] = []
        self.sums: Tensor | None = None
        self.critical: list[Tensor] = []
        self.seen: list[tuple[int, list[int]]] = []

    def add(self, step: int, result: StepResult, segment_B: Tensor) -> None:
        """One finished step (global number, from 1) and the segments it was computed from."""
        parts = len(result.terms)
        values = {name: torch.stack([t.value[name].detach() for t in result.terms]) for name in result.terms[0].value}
        top1 = {f"{name}_top1": torch.stack([t.top1[name] for t in result.terms]) for name in result.terms[0].top1}
        total = torch.stack([t.total.detach() for t in result.terms]).sum() / parts
        named = {"loss": total, "grad_norm": result.grad_norm.detach()}
        named |= {name: stacked.mean() for name, stacked in {**values, **top1}.items()}
        self.names = list(named)
        row = torch.stack(list(named.values())).double()
        self.sums = row if self.sums is None else self.sums + row
        self.critical.append(row[:2])
        self.seen.append((step, segment_B.tolist()))

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
            f"{segments[:8]}{'...' if len(segments) > 8 else ''} are saved in {path.name}. Lower pretrain.optim.lr "
            "or clip_norm, or look at these segments; the last checkpoint is from before"
        )


class Journal:
    """Times and metrics of the steps of one rank; rank 0 writes a row whenever told to."""

    def __init__(
        self, folder: Path, world: World, *, first_step: int, total_steps: int, steps_per_epoch: int, batch_size: int
    ) -> None:
        self.meter = Meter(folder, world)
        self.log = MetricsLog(folder, first_step=first_step) if world.is_main else None
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.waited_s = 0.0
        self.began = self.read_at = self.ready_at = time.monotonic()

    def data_arrived(self) -> None:
        """The step's batch is here; the time since the step before was waiting."""
        self.waited_s += time.monotonic() - self.ready_at

    def step_done(self, step: int, result: StepResult, segment_B: Tensor) -> None:
        """The work of `step` (from 1) is given to the device."""
        self.meter.add(step, result, segment_B)
        self.ready_at = time.monotonic()

    def write(self, step: int, *, lr: float, key_momentum: float) -> None:
        """A row about the steps since the last one; waits for the device. Call it on all ranks.

        Raises:
            NonFiniteError: see `Meter.read`.
        """
        steps = len(self.meter.seen)
        means = self.meter.read()
        now = time.monotonic()
        if self.log is not None:
            self.log.write(
                {
                    "step": step,
                    "total_steps": self.total_steps,
                    "epoch": step / self.steps_per_epoch,
                    "seconds": self.log.seconds_before + now - self.began,
                    "lr": lr,
                    "key_momentum": key_momentum,
                    "clips_per_second": steps * self.batch_size / (now - self.read_at),
                    "data_wait": self.waited_s / (now - self.read_at),
                    **means,
                }
            )
        self.read_at, self.waited_s = now, 0.0

    def close(self) -> None:
        """Flush to the disk."""
        if self.log is not None:
            self.log.close()


class MetricsLog:
    """`metrics.jsonl` and TensorBoard events of one run; rows past the resumed step are dropped first."""

    def __init__(self, folder: Path, *, first_step: int) -> None:
        # Slow to import, and only one rank writes.
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "metrics.jsonl"
        kept = [row for row in read_metrics(self.path) if row["step"] <= first_step]
        write_atomic(self.path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self.seconds_before = kept[-1]["seconds"] if kept else 0.0
        self.file = self.path.open("a")
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)

    def write(self, row: Mapping[str, float]) -> None:
        """One row; `step` is its place on the axis."""
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        for name, value in row.items():
            if name not in ("step", "total_steps", "seconds"):
                self.board.add_scalar(_tag(name), value, int(row["step"]))

    def close(self) -> None:
        """Flush to the disk."""
        os.fsync(self.file.fileno())
        self.file.close()
        self.board.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a `metrics.jsonl`; a last line that a kill tore off is left out."""
    rows: list[dict[str, float]] = []
    if path.is_file():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


def _tag(name: str) -> str:
    if name.endswith("_top1"):
        return f"top1/{name.removesuffix('_top1')}"
    return (
        f"run/{name}"
        if name in ("epoch", "lr", "key_momentum", "clips_per_second", "data_wait", "grad_norm")
        else f"loss/{name}"
    )


def _finite(value: float) -> bool:
    return abs(value) < float("inf")  # False for NaN, too
