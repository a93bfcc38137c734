"""What the tests run as ranks: `main(arguments)` trains on synthetic batches, or dies as told."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from synthetic import SyntheticBatches, plain_views, tiny_config
from torch import nn

from mscl.data.views import RawBatch, TwoViews
from mscl.errors import UserError
from mscl.models.mscl import MSCL
from mscl.training import loop
from mscl.training.distributed import joined_world


def without_batch_statistics(model: MSCL) -> MSCL:
    """Batch norm with its initial statistics: each clip's result is its own, whatever it is batched with."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eval()
    return model


def main(arguments: list[str]) -> int:
    """Arguments: output folder, what to do, JSON of the changed configuration."""
    torch.set_num_threads(1)
    output, deed = Path(arguments[0]), arguments[1]
    config = tiny_config(**json.loads(arguments[2]))
    if deed == "fixed_bn":
        build = loop.build_model
        loop.build_model = lambda config, world: without_batch_statistics(build(config, world))
    calls = 0
    try:
        with loop.StopRequest() as stop, joined_world("cpu") as world:

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

            finished = loop.train(
                config,
                SyntheticBatches(
                    batch_size=config.batch_size,
                    total_steps=4 * config.epochs,
                    rank=world.rank,
                    world_size=world.size,
                ),
                augment,
                steps_per_epoch=4,
                output=output,
                world=world,
                stop=stop,
                log_every=1,
            )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 75 if finished.stopped else 0
