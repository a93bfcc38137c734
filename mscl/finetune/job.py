"""Fine-tuning as jobs: what is trained on what, as a file that torchrun's processes read.

`run_finetuning` is the parent's side, one job per official split and seed; the processes of a job run
`mscl.finetune.process`.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mscl.finetune.config import FinetuneConfig
from mscl.models.config import ModelConfig
from mscl.progress import Progress
from mscl.score.classification import classification
from mscl.score.predictions import PREDICTIONS, join_predictions, read_predictions
from mscl.score.repeated_runs import Run, chance_over_runs, confusion_over_runs, mean_over_runs
from mscl.stage.config import RuntimeConfig
from mscl.training.job import Job
from storage.atomic import write_atomic
from storage.json_files import read_json, write_json

METRICS = "metrics.json"
CURVE = "curve.jsonl"
CLASSIFIER = "classifier.safetensors"
RESUME = "last.pt"
LOG = "train.log"
_RUNS = ".runs"
"""Hidden: work to resume from. What is kept of a run moves out of it at the end."""


class FinetuneJob(Job):
    """Everything that the training processes of one run need to know."""

    kind: ClassVar[str] = "fine-tuning"

    extract_folder: str
    """Result of the extract stage: holds `frames/`."""
    manifest_path: str
    """Its column `split` is the official split of the run."""
    checkpoint: str
    """Pre-trained checkpoint or exported encoder; empty: random weights."""
    output_folder: str
    finetune: FinetuneConfig
    """`seed` is that of the run."""
    model: ModelConfig
    """Networks of the checkpoint; what is built when there is none."""
    runtime: RuntimeConfig = RuntimeConfig()


def run_finetuning(
    job: FinetuneJob, *, manifests: Mapping[int, Path], notes: Sequence[str] = (), progress: Progress
) -> dict[str, Any]:
    """Train and test under torchrun on every split and with every seed; returns the metrics of the record.

    Resumes after the last finished epoch of the run that was stopped. Leaves in the output folder: metrics.json (means,
    every run, the confusion matrix), predictions.parquet, curve.jsonl, train.log, and the classifier of every run:
    classifier.safetensors is that of the first, the others have split and seed in their names.

    Args:
        job: the run to repeat; its manifest, seed and output folder are replaced by those of each run.
        manifests: official split -> manifest with that split.
        notes: what is to be kept with the metrics.

    Raises:
        UserError: a dataset, checkpoint or setting that cannot be used, or a training process that died.
    """
    folder, config = Path(job.output_folder), job.finetune
    todo = [(split, seed) for split in manifests for seed in config.all_seeds]
    folders = {run: folder / _RUNS / f"split{run[0]}-seed{run[1]}" for run in todo}
    for number, (split, seed) in enumerate(todo, 1):
        own = config.model_copy(update={"seed": seed, "seeds": (), "splits": ()})
        title = "Fine-tuning" if len(todo) == 1 else f"Fine-tuning {number} of {len(todo)}, split {split}, seed {seed}"
        changes = {"manifest_path": str(manifests[split]), "output_folder": str(folders[split, seed]), "finetune": own}
        _run_once(job.model_copy(update=changes), title=title, log=folder / LOG, progress=progress)
    report = _collect(folder, folders, config, notes)
    shutil.rmtree(folder / _RUNS)
    return {name: value for name, value in report.items() if name not in ("confusion", "classes")}


def _run_once(job: FinetuneJob, *, title: str, log: Path, progress: Progress) -> None:
    from mscl.training.launch import run_torchrun

    folder = Path(job.output_folder)
    if (folder / METRICS).is_file():  # written last
        progress.say(f"{title}: done already")
        return
    job.save(folder / "job.json")
    progress.start(title, job.finetune.epochs, "epoch")
    shown = 0

    def follow() -> None:
        nonlocal shown
        rows = (folder / CURVE).read_text().splitlines() if (folder / CURVE).is_file() else []
        if len(rows) > shown:
            last = json.loads(rows[-1])
            progress.advance(len(rows) - shown, loss=round(last["loss"], 3), accuracy=round(last["accuracy"], 3))
            shown = len(rows)

    run_torchrun(
        "mscl.finetune.process", [str(folder / "job.json")], runtime=job.runtime, log=log, watch=follow
    )  # fmt: skip
    progress.done()


def _collect(
    folder: Path, folders: Mapping[tuple[int, int], Path], config: FinetuneConfig, notes: Sequence[str]
) -> dict[str, Any]:
    """Put the runs together into the files of the result."""
    runs: list[Run] = []
    curve: list[str] = []
    reports = {run: read_json(source / METRICS) for run, source in folders.items()}
    for (split, seed), source in folders.items():
        labels_V, probabilities_VC = read_predictions(source / PREDICTIONS)
        details = {name: reports[split, seed][name] for name in ("epochs", "train_loss", "warnings")}
        runs.append(Run(split, seed, classification(probabilities_VC, labels_V, seed=seed), details))
        for line in (source / CURVE).read_text().splitlines():
            curve.append(json.dumps({"split": split, "seed": seed, **json.loads(line)}) + "\n")
        name = CLASSIFIER if len(runs) == 1 else f"classifier-split{split}-seed{seed}.safetensors"
        write_atomic(folder / name, (source / CLASSIFIER).read_bytes())
    first = next(iter(reports.values()))
    report = mean_over_runs(runs, seed=config.seed) | {
        "protocol": config.protocol,
        "epochs": config.epochs,
        "train_loss": float(np.mean([found["train_loss"] for found in reports.values()])),
        "warnings": list(dict.fromkeys(warning for found in reports.values() for warning in found["warnings"])),
        "notes": list(notes),
        "chance": chance_over_runs(runs),
        "classes": first["classes"],
        "confusion": confusion_over_runs(runs),
    }
    join_predictions(folder / PREDICTIONS, {run: source / PREDICTIONS for run, source in folders.items()})
    write_atomic(folder / CURVE, "".join(curve).encode())
    write_json(folder / METRICS, report)
    return report
