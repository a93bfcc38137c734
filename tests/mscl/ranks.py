"""What the tests run as ranks: a job that trains on synthetic batches, or dies as told."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import nn

from mscl.errors import UserError
from mscl.models.mscl import MSCL
from mscl.pretrain import fit_mscl
from mscl.pretrain.config import PretrainConfig
from mscl.training.distributed import World
from mscl.training.fit import Finished, StopRequest
from mscl.training.job import Job
from mscl.training.launch import loader_workers_of
from mscl.training.loader import make_loader
from mscl.training.precision import lowest_of_ranks
from mscl.training.process import run_job
from mscl.views import RawBatch, TwoViews
from tests.mscl.synthetic import SyntheticBatches, SyntheticSource, plain_views, tiny_config

COMPARED: dict[str, Any] = {"accumulate": 2, "epochs": 1, "loss": {"queue_size": 16}, "seed": 20261128}
"""What two ranks and one train with to be compared: four steps, which write the whole queue twice.

The seed is a date, and large for one."""


def without_batch_statistics(model: MSCL) -> MSCL:
    """Batch norm with its initial statistics: each clip's result is its own, whatever it is batched with."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eval()
    return model


class RankJob(Job):
    """Training on synthetic batches."""

    kind: ClassVar[str] = "test"

    deed: str
    changes: dict[str, Any]
    """Of `tiny_config`."""


def train_tiny(output: Path, world: World, *, deed: str, changes: dict[str, Any], workers: int = 0) -> Finished:
    """Train as one rank, and do the deed on the way."""
    config = tiny_config(**changes)
    calls = 0

    def loader(start: int) -> AbstractContextManager[Iterable[RawBatch]]:
        size, steps = config.batch_size, 4 * config.epochs
        if workers:
            return make_loader(
                SyntheticSource(4 * size), batch_size=size, start_step=start, total_steps=steps, rank=world.rank,
                world_size=world.size, workers=workers,
            )  # fmt: skip
        return SyntheticBatches(batch_size=size, total_steps=steps, rank=world.rank, world_size=world.size)(start)

    def augment(raw: RawBatch) -> TwoViews:
        nonlocal calls
        calls += 1
        is_last = world.rank == world.size - 1
        if deed == "die" and is_last and calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "leave":
            os.kill(os.getpid(), signal.SIGTERM)
        if deed == "slow":
            (output / f"pid-{world.rank}").write_text(str(os.getpid()))
            time.sleep(0.1)
        return plain_views(raw)

    build_model = fit_mscl.build_model

    def build(config: PretrainConfig, world: World) -> MSCL:
        model = build_model(config, world)
        return without_batch_statistics(model) if deed == "fixed_bn" else model

    with StopRequest() as stop, mock.patch.object(fit_mscl, "build_model", build):
        return fit_mscl.fit_mscl(
            config,
            loader,
            augment,
            steps_per_epoch=4,
            output=output,
            world=world,
            stop=stop,
            log_every=1,
        )


def work(job: RankJob, world: World) -> Finished | None:
    """This rank's share of the job."""
    output = Path(job.output_folder)
    if job.deed == "refuse":
        raise UserError("a rank wants another setting\nerror: and says so on two lines")
    if job.deed == "all":  # what two ranks are started for once: a start takes much longer than the work
        train_tiny(output, world, deed="train", changes=job.changes)
        for bn in ("shuffle", "local"):
            train_tiny(output / bn, world, deed="fixed_bn", changes=COMPARED | {"bn": bn})
        of_this_card = torch.bfloat16 if world.is_main else torch.float16
        (output / f"lowest-{world.rank}").write_text(str(lowest_of_ranks(of_this_card, world)))
        if world.rank == 0:
            return None
        raise RuntimeError("a rank has had enough")
    return train_tiny(output, world, deed=job.deed, changes=job.changes, workers=loader_workers_of(job.runtime))


main = partial(run_job, RankJob, work)
