"""The training loop of pre-training and fine-tuning: from batches to checkpoints and curves, resumable at any step.

A resumed run computes what an unbroken one would have: bit by bit on a CPU with one process or two. Of three or more
the first step that a process makes adds their gradients up in another order (PyTorch then sorts them by their arrival).
"""

import signal
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mscl.milestones import reached
from mscl.training.checkpoint import Checkpoints
from mscl.training.distributed import World, any_rank
from mscl.training.metrics import Journal, StepMetrics
from mscl.training.precision import fastest_convolutions
from mscl.training.updater import Updater

LOG_EVERY_STEPS = 10
"""Steps between two readings of the metrics: reading waits for the device."""

BatchT = TypeVar("BatchT")


@dataclass(frozen=True)
class Finished:
    """How a run ended."""

    step: int
    stopped: bool
    """Left early because it was asked to, with a checkpoint."""


class StopRequest:
    """SIGTERM asks the loop to write a checkpoint and leave; as a context manager it puts the old handler back."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "StopRequest":
        self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def fit(
    step: Callable[[BatchT, int], StepMetrics],
    loader: Callable[[int], AbstractContextManager[Iterable[BatchT]]],
    updater: Updater,
    *,
    rate_at: Callable[[int], float],
    checkpoints: Checkpoints,
    journal: Journal,
    stop: StopRequest,
    world: World,
    checkpoint_minutes: float,
    end_epoch: Callable[[int], None] | None = None,
    log_every: int = LOG_EVERY_STEPS,
) -> Finished:
    """Train to the last step of the journal's run, from the latest checkpoint on.

    Args:
        step: one optimiser step on this rank's share of a batch, given its global number from 0.
        loader: opens the batches at a global step; yields them to the end of the run.
        rate_at: learning rate of a global step.
        checkpoint_minutes: between two checkpoints; there is one when the run ends or is asked to stop, too.
        end_epoch: called with the number of finished epochs after the checkpoint of each epoch's last step, and again
            when the run goes on from there: what it does must be the same then.

    Raises:
        CheckpointError: the latest checkpoint does not fit this run.
        NonFiniteError: loss or gradient are not finite.
    """
    reached("model is built")
    start, total_steps = checkpoints.resume(), journal.total_steps
    journal.resumed_at(start)
    if end_epoch is not None and start and start % journal.steps_per_epoch == 0:
        end_epoch(start // journal.steps_per_epoch)
    if start == total_steps:
        return Finished(start, stopped=False)
    done, saved_at = start, time.monotonic()
    with journal.begun_at(start), loader(start) as opened, fastest_convolutions(world.device, total_steps - start):
        batches = iter(opened)
        reached("loader is open")
        checkpoints.restore_random_state()
        for done, batch in enumerate(batches, start + 1):
            journal.data_arrived()
            if done == start + 1:
                reached("first batch")
            rate = rate_at(done - 1)
            updater.set_rate(rate)
            journal.step_done(done, step(batch, done - 1))
            last, logged = done == total_steps, done % log_every == 0
            epoch_ends = end_epoch is not None and done % journal.steps_per_epoch == 0
            leave = due = False
            # On CPU asking the other ranks costs nothing, and steps may be long; on CUDA it would wait for the device.
            if last or logged or epoch_ends or world.device.type == "cpu":
                leave = any_rank(stop.asked, world)
                due = any_rank(time.monotonic() - saved_at > 60 * checkpoint_minutes, world)
            saved = last or leave or due or epoch_ends
            if saved or logged or done == start + 1:
                journal.write(done, lr=rate)
            if done == start + 1:
                reached("first step")
            if saved:
                checkpoints.save(done, metrics=journal.last)
                saved_at = time.monotonic()
            if leave and not last:
                break
            if epoch_ends and end_epoch is not None:
                end_epoch(done // journal.steps_per_epoch)
    return Finished(done, stopped=done < total_steps)


def distributed(module: nn.Module, world: World, *, broadcast_buffers: bool) -> nn.Module:
    """The module whose gradients are the mean over all ranks; the module itself where there is one.

    Args:
        broadcast_buffers: every step begins with the statistics of rank 0's batch norm.
    """
    if world.size == 1:
        return module
    return DistributedDataParallel(
        module,
        device_ids=[world.device] if world.device.type == "cuda" else None,
        broadcast_buffers=broadcast_buffers,
        gradient_as_bucket_view=True,
    )
