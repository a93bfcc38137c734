"""What the tests run as ranks: `main(arguments)` trains on synthetic batches, or dies as told."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from mscl.errors import UserError
from mscl.models.mscl import MSCL
from mscl.pretrain import loop
from mscl.pretrain.config import PretrainConfig
from mscl.pretrain.loop import build_model
from mscl.training.distributed import World, joined_world
from mscl.views import RawBatch, TwoViews
from tests.mscl.synthetic import SyntheticBatches, plain_views, tiny_config


def without_batch_statistics(model: MSCL) -> MSCL:
    """Batch norm with its initial statistics: each clip's result is its own, whatever it is batched with."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eval()
    return model


def train_tiny(output: Path, world: World, *, deed: str, changes: dict[str, Any]) -> int:
    """Train as one rank, and do the deed on the way; the exit code."""
    config = tiny_config(**changes)
    calls = 0

    def augment(raw: RawBatch) -> TwoViews:
        nonlocal calls
        calls += 1
        if deed == "raise" and world.rank == 1 and calls == 3:
            raise RuntimeError("rank 1 has had enough")
        if deed == "die" and world.rank == 1 and calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "slow":
            (output / f"pid-{world.rank}").write_text(str(os.getpid()))
            time.sleep(0.1)
        return plain_views(raw)

    def build(config: PretrainConfig, world: World) -> MSCL:
        model = build_model(config, world)
        return without_batch_statistics(model) if deed == "fixed_bn" else model

    with loop.StopRequest() as stop, mock.patch.object(loop, "build_model", build):
        finished = loop.train(
            config,
            SyntheticBatches(
                batch_size=config.batch_size, total_steps=4 * config.epochs, rank=world.rank, world_size=world.size
            ),
            augment,
            steps_per_epoch=4,
            output=output,
            world=world,
            stop=stop,
            log_every=1,
        )
    return 75 if finished.stopped else 0


def main(arguments: list[str]) -> int:
    """Arguments: output folder, what to do, JSON of the changed configuration."""
    torch.set_num_threads(1)
    output, deed, changes = Path(arguments[0]), arguments[1], json.loads(arguments[2])
    try:
        with joined_world("cpu") as world:
            if deed == "shuffle_and_local":
                for bn in ("shuffle", "local"):
                    train_tiny(output / bn, world, deed="fixed_bn", changes=changes | {"bn": bn})
                return 0
            return train_tiny(output, world, deed=deed, changes=changes)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
