"""Fine-tuning as a job: what is trained on what, as a file that torchrun's processes read.

`run_finetuning` is the parent's side; the processes run `mscl.evaluation.finetune_main`.
"""

import json
from pathlib import Path
from typing import Any, ClassVar

from mscl.config import FinetuneConfig, ModelConfig, RuntimeConfig
from mscl.evaluation.files import read_json
from mscl.progress import Progress
from mscl.training.job import Job

METRICS = "metrics.json"
PREDICTIONS = "predictions.parquet"
CURVE = "curve.jsonl"
CLASSIFIER = "classifier.safetensors"
RESUME = "last.pt"


class FinetuneJob(Job):
    """Everything that the training processes need to know."""

    kind: ClassVar[str] = "fine-tuning"

    extract_folder: str
    """Result of the extract stage: holds `frames/`."""
    manifest_path: str
    checkpoint: str
    """Pre-trained checkpoint or exported encoder; empty: random weights."""
    output_folder: str
    finetune: FinetuneConfig
    model: ModelConfig
    """Networks of the checkpoint; what is built when there is none."""
    runtime: RuntimeConfig = RuntimeConfig()


def run_finetuning(job: FinetuneJob, *, progress: Progress) -> dict[str, Any]:
    """Train and test under torchrun; resumes after the last finished epoch. Returns the metrics of the record.

    Leaves in the output folder: metrics.json (with the confusion matrix), predictions.parquet, curve.jsonl,
    classifier.safetensors.

    Raises:
        UserError: a dataset, checkpoint or setting that cannot be used, or a training process that died.
    """
    from mscl.training.launch import run_torchrun

    folder = Path(job.output_folder)
    folder.mkdir(parents=True, exist_ok=True)
    job_path = folder / ".job.json"
    job.save(job_path)
    progress.start("Fine-tuning", job.finetune.epochs, "epoch")
    shown = 0

    def follow() -> None:
        nonlocal shown
        rows = (folder / CURVE).read_text().splitlines() if (folder / CURVE).is_file() else []
        if len(rows) > shown:
            last = json.loads(rows[-1])
            progress.advance(len(rows) - shown, loss=round(last["loss"], 3), accuracy=round(last["accuracy"], 3))
            shown = len(rows)

    arguments = [str(job_path)]
    log = folder / "train.log"
    run_torchrun("mscl.evaluation.finetune_main", arguments, runtime=job.runtime, log=log, watch=follow)
    progress.done()
    for leftover in (job_path, folder / RESUME):
        leftover.unlink(missing_ok=True)
    report = read_json(folder / METRICS)
    return {name: value for name, value in report.items() if name not in ("confusion", "classes")}
