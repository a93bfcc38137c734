"""Fine-tuning as jobs: what is trained on what, as a file that torchrun's processes read.

`run_finetuning` is the parent's side, one job per official split and seed; the processes of a job run
`mscl.finetune.process`.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from mscl.finetune.config import FinetuneConfig
from mscl.finetune.scores import FinetuneMetrics
from mscl.models.config import ModelConfig
from mscl.progress import Progress
from mscl.score.classification import classification
from mscl.score.classifier_scores import Details
from mscl.score.groups import INDEPENDENT, Grouping
from mscl.score.predictions import PREDICTIONS, join_predictions, predicted_videos, read_predictions
from mscl.score.repeated_runs import Trial, confusion_over_runs, mean_over_runs
from mscl.trackers.tracker import TENSORBOARD_FOLDER
from mscl.trackers.tracking import Tracking
from mscl.training.job import Job
from mscl.training.launch import run_torchrun
from mscl.training.progress import METRICS_NAME, MetricsProgress
from mscl.video.frame_recipe import EncoderInput
from storage.atomic import digest_file, write_atomic
from storage.json_files import read_json, write_json
from storage.json_lines import read_json_lines

METRICS = "metrics.json"
CURVE = "curve.jsonl"
CLASSIFIER = "classifier.safetensors"
CHECKPOINTS = "checkpoints"
LOG = "train.log"
FINISHED = "finished.json"
"""sha256 of what a run leaves for the result; written last. What is not as it says is made again."""
_RUNS = ".runs"
"""Hidden: work to resume from. What is kept of a run moves out of it at the end."""
_LEFT = (CLASSIFIER, PREDICTIONS, CURVE)


class FinetuneJob(Job):
    """Everything that the training processes of one run need to know."""

    kind: ClassVar[str] = "fine-tuning"
    memory_advice: ClassVar[str] = "lower finetune.batch_size, finetune.crop_px or finetune.frames"

    extract_folder: str
    """Result of the extract stage: holds `frames/`."""
    manifest_path: str
    """Its column `split` is the official split of the run."""
    checkpoint: str
    """Pre-trained checkpoint or exported encoder; with `finetune.initial` random its network alone counts. Empty:
    random weights of `model`."""
    finetune: FinetuneConfig
    """`seed` is that of the run."""
    model: ModelConfig
    """Networks of the checkpoint; what is built when there is none."""
    encoder_input: EncoderInput
    """What a video goes through to be classified as in the test; for the classifier's file."""
    tracking: Tracking = Tracking()


def run_finetuning(
    job: FinetuneJob,
    *,
    manifests: Mapping[int, Path],
    grouping: Grouping = INDEPENDENT,
    notes: Sequence[str] = (),
    progress: Progress,
) -> FinetuneMetrics:
    """Train and test under torchrun on every split and with every seed.

    Resumes at the latest checkpoint of the run that was stopped. Leaves in the output folder: metrics.json (means,
    every run, the confusion matrix), predictions.parquet, curve.jsonl, tensorboard/, train.log, and the classifier of
    every run: classifier.safetensors is that of the first, the others have split and seed in their names.

    Args:
        job: the run to repeat; its manifest, seed and output folder are replaced by those of each run.
        manifests: official split -> manifest with that split.
        grouping: which test videos count together in the intervals.
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
        changes = {
            "manifest_path": str(manifests[split]),
            "output_folder": str(folders[split, seed]),
            "finetune": own,
            "tracking": job.tracking.model_copy(update={"part": f"split {split} seed {seed}"}),
        }
        _run_once(job.model_copy(update=changes), title=title, log=folder / LOG, progress=progress)
    metrics = _collect(folder, folders, config, grouping, notes)
    shutil.rmtree(folder / _RUNS)
    return metrics


def _run_once(job: FinetuneJob, *, title: str, log: Path, progress: Progress) -> None:
    folder = Path(job.output_folder)
    if is_finished(folder):
        progress.say(f"{title}: done already")
        return
    job.save(folder / "job.json")
    shown = MetricsProgress(folder / METRICS_NAME, progress, title=title, shown=("loss", "accuracy"))
    run_torchrun(
        "mscl.finetune.process", [str(folder / "job.json")], runtime=job.runtime, log=log, watch=shown.look,
        progress=progress,
    )  # fmt: skip
    shown.close()


def note_finished(folder: Path) -> None:
    """A run is done: say what its files are, as the last thing."""
    write_json(folder / FINISHED, {name: digest_file(folder / name) for name in (*_LEFT, METRICS)})


def is_finished(folder: Path) -> bool:
    """Whether a run is done, and every file is still as it was left."""
    try:
        digests = read_json(folder / FINISHED)
        return all(digest_file(folder / name) == digests[name] for name in (*_LEFT, METRICS))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _collect(
    folder: Path,
    folders: Mapping[tuple[int, int], Path],
    config: FinetuneConfig,
    grouping: Grouping,
    notes: Sequence[str],
) -> FinetuneMetrics:
    """Put the runs together into the files of the result."""
    tested: list[Trial] = []
    curve: list[str] = []
    reports = {run: read_json(source / METRICS) for run, source in folders.items()}
    for (split, seed), source in folders.items():
        labels_V, probabilities_VC = read_predictions(source / PREDICTIONS)
        report = reports[split, seed]
        details = Details(epochs=report["epochs"], train_loss=report["train_loss"])
        groups_V = grouping.numbers(predicted_videos(source / PREDICTIONS))
        scores = classification(probabilities_VC, labels_V, groups_N=groups_V)
        tested.append(Trial(split, seed, scores, details, tuple(report["warnings"])))
        for row in read_json_lines(source / CURVE):
            curve.append(json.dumps({"split": split, "seed": seed, **row}) + "\n")
        name = CLASSIFIER if len(tested) == 1 else f"classifier-split{split}-seed{seed}.safetensors"
        write_atomic(folder / name, (source / CLASSIFIER).read_bytes())
        if (source / TENSORBOARD_FOLDER).exists():  # what trackers were asked for
            shutil.copytree(source / TENSORBOARD_FOLDER, folder / TENSORBOARD_FOLDER / source.name, dirs_exist_ok=True)
    metrics = FinetuneMetrics(
        scores=mean_over_runs(tested), protocol=config.protocol, epochs=config.epochs,
        train_loss=float(np.mean([report["train_loss"] for report in reports.values()])), notes=tuple(notes),
    )  # fmt: skip
    join_predictions(folder / PREDICTIONS, {run: source / PREDICTIONS for run, source in folders.items()})
    write_atomic(folder / CURVE, "".join(curve).encode())
    classes = next(iter(reports.values()))["classes"]
    write_json(folder / METRICS, metrics.as_record() | {"classes": classes, "confusion": confusion_over_runs(tested)})
    return metrics
