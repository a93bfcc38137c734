"""Pre-training as a job: what is trained on what, as a file that torchrun's processes read.

`run_pretraining` is the parent's side; the processes run `mscl.pretrain.process`.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mscl.pretrain.config import PretrainConfig
from mscl.progress import Progress
from mscl.trackers.tracking import Tracking
from mscl.training.job import Job
from mscl.training.launch import run_torchrun
from mscl.training.progress import METRICS_NAME, MetricsProgress
from mscl.video.frame_recipe import EncoderInput
from storage.json_lines import read_json_lines

CHECKPOINTS = "checkpoints"


class PretrainJob(Job):
    """Pre-training on the stores of one extract result with the clips of one screen result.

    The output folder gets `checkpoints/`, `metrics.jsonl`, `tensorboard/` and `train.log`; it may hold a run to resume.
    """

    kind: ClassVar[str] = "training"
    memory_advice: ClassVar[str] = "lower pretrain.batch_size or pretrain.augment.crop_px, or raise pretrain.accumulate"

    extract_folder: str
    """Holds `flow.zarr` and `frames`."""
    manifest_path: str
    screen_path: str
    encoder_input: EncoderInput
    """What the videos go through, clips included; for the checkpoints."""
    pretrain: PretrainConfig = PretrainConfig()
    tracking: Tracking = Tracking()


@dataclass(frozen=True)
class PretrainResult:
    """A finished pre-training run."""

    checkpoint: Path
    metrics: dict[str, float]
    """Of the last steps: losses, accuracies, clips per second."""
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
    output = Path(job.output_folder)
    job_path, rows_path = output / "job.json", output / METRICS_NAME
    job.save(job_path)
    began = time.monotonic()
    shown = MetricsProgress(rows_path, progress, title="Pre-training", shown=("loss", "rgb_top1", "clips_per_second"))
    run_torchrun(
        "mscl.pretrain.process", [str(job_path)], runtime=job.runtime, log=output / "train.log", watch=shown.look,
        progress=progress,
    )  # fmt: skip
    shown.close()
    progress.start("Reading the checkpoint", None, "")
    # PyTorch takes seconds and 300 MB: not before the training, which has its own.
    from mscl.models.weight_files import read_checkpoint
    from mscl.training.checkpoint import checkpoints, drop_damaged

    *older, path = checkpoints(output / CHECKPOINTS)
    for other in older:
        drop_damaged(other)  # the result's record would vouch for it
    # Of the checkpoint, which has a digest, and not of the log, where a flipped bit is another number.
    state = read_checkpoint(path)
    times = [row for row in read_json_lines(rows_path) if row.get("step") == state["step"]]
    metrics = {**(times[-1] if times else {}), **state.get("metrics", {})}
    return PretrainResult(
        checkpoint=path,
        metrics={name: value for name, value in metrics.items() if name not in ("step", "total_steps", "seconds")},
        steps=int(state["step"]),
        seconds=time.monotonic() - began,
    )
