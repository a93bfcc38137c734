"""One process of a job under torchrun: what pre-training, fine-tuning and embedding share of their `main`."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch

from mscl.errors import CardError, UserError
from mscl.milestones import reached
from mscl.training.card_errors import card_errors
from mscl.training.distributed import World, joined_world
from mscl.training.fit import Finished
from mscl.training.job import Job
from mscl.training.launch import STOPPED_CODE, loader_workers_of
from mscl.training.messages import Message, say, tell
from mscl.training.precision import tf32
from storage.atomic import disk_errors
from storage.errors import StorageError

USER_ERROR_CODE = 2
"""Exit code of a process that told what the user can mend."""

JobT = TypeVar("JobT", bound=Job)


def run_job(kind: type[JobT], work: Callable[[JobT, World], Finished | None], arguments: list[str]) -> int:
    """Do this process's share of the job in the file that is named first on the command line.

    Returns:
        0 when it is done, `USER_ERROR_CODE` when the user can mend what stopped it, which the command is told,
        `STOPPED_CODE` when it was asked to stop and has written a checkpoint.
    """
    reached("rank imported")
    try:
        job = kind.load(Path(arguments[0]))
        if job.runtime.threads:
            torch.set_num_threads(job.runtime.threads)
        full = disk_errors(Path(job.output_folder))
        with full, joined_world(job.runtime.device, job.runtime.gpus) as world, tf32(world.device):
            reached("rank has its device")
            if world.is_main and job.runtime.loader_workers == "auto":
                print(f"{loader_workers_of(job.runtime)} processes load for each of {world.size}", flush=True)
            with card_errors(world.device, advice=job.memory_advice):
                finished = work(job, world)
    except (UserError, StorageError) as error:
        with suppress(OSError):  # the log may be on the disk that is full
            print(f"error: {error}", file=sys.stderr, flush=True)
        failed = error if isinstance(error, CardError) else None
        said = Message(error=failed.reason, card=failed.device) if failed else Message(error=str(error))
        tell(said.model_copy(update={"rank": int(os.environ.get("RANK", "0"))}))
        return USER_ERROR_CODE
    if finished is not None and finished.stopped:
        if world.is_main:
            say(f"stopped after step {finished.step}; a checkpoint is written")
        return STOPPED_CODE
    return 0
