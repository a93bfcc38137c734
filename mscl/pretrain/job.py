"""Pre-training as a job: what is trained on what, as a file that torchrun's processes read.

`run_pretraining` is the parent's side; the processes run `mscl.pretrain.process`.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TextIO

from mscl.pretrain.config import PretrainConfig
from mscl.progress import Progress
from mscl.stage.config import RuntimeConfig
from mscl.training.job import Job
from mscl.training.launch import run_torchrun
from mscl.video.frame_recipe import EncoderInput


class PretrainJob(Job):
    """Pre-training on the stores of one extract result with the clips of one screen result."""

    kind: ClassVar[str] = "training"

    extract_folder: str
    """Holds `flow.zarr` and `frames`."""
    manifest_path: str
    screen_path: str
    output_folder: str
    """Gets `checkpoints/`, `metrics.jsonl`, `tensorboard/` and `train.log`; may hold a run to resume."""
    encoder_input: EncoderInput
    """What the videos go through, clips included; for the checkpoints."""
    pretrain: PretrainConfig = PretrainConfig()
    runtime: RuntimeConfig = RuntimeConfig()


@dataclass(frozen=True)
class PretrainResult:
    """A finished pre-training run."""

    checkpoint: Path
    metrics: dict[str, float]
    """The last row of the log: losses, accuracies, clips per second."""
    steps: int
    seconds: float
    """Of this call; a resumed run took longer in all."""


def run_pretraining(job: PretrainJob, *, progress: Progress) -> PretrainResult:
    """Pre-train under torchrun in a child process, resuming what the output folder holds.

    Killed together with this process; on an exception here (Ctrl-C, cancellation) the child is told to stop, writes
    a checkpoint and ends before the exception goes on.

    Raises:
        TrainingError: the child failed (with its traceback's last lines) or was stopped from outside.
    """
    from mscl.pretrain.checkpoint import checkpoints
    from mscl.pretrain.metrics import read_metrics

    output = Path(job.output_folder)
    job_path = output / "job.json"
    job.save(job_path)
    began = time.monotonic()
    follower = _Follower(output / "metrics.jsonl", progress)
    run_torchrun(
        "mscl.pretrain.process", [str(job_path)], runtime=job.runtime, log=output / "train.log", watch=follower.look
    )
    follower.close()
    last = read_metrics(output / "metrics.jsonl")[-1]
    return PretrainResult(
        checkpoint=checkpoints(output / "checkpoints")[-1],
        metrics={name: value for name, value in last.items() if name not in ("step", "total_steps", "seconds")},
        steps=int(last["step"]),
        seconds=time.monotonic() - began,
    )


class _Follower:
    """Turns new rows of `metrics.jsonl` into progress."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self.path = path
        self.progress = progress
        self.file: TextIO | None = None
        self.rest = ""
        self.step: int | None = None

    def look(self) -> None:
        if not self.path.is_file():
            return
        if self.file is None or os.fstat(self.file.fileno()).st_ino != self.path.stat().st_ino:
            # New, or replaced by a resumed run without the rows past its checkpoint.
            self._close_file()
            self.file, self.rest = self.path.open(), ""
        *lines, self.rest = (self.rest + self.file.read()).split("\n")
        for row in map(json.loads, lines):
            if self.step is None:
                self.progress.start("Pre-training", round(row["total_steps"]), "step")
                self.step = 0
            if row["step"] > self.step:
                shown = {name: row[name] for name in ("loss", "rgb_top1", "clips_per_second") if name in row}
                self.progress.advance(int(row["step"]) - self.step, **shown)
                self.step = int(row["step"])

    def close(self) -> None:
        self._close_file()
        if self.step is not None:
            self.progress.done()

    def _close_file(self) -> None:
        if self.file is not None:
            self.file.close()
