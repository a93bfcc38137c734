"""One process of fine-tuning: `torchrun -m mscl.evaluation.finetune_main JOB.json` (METHOD 1.8)."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mscl.config import FinetuneConfig
from mscl.data.clips import EvalClips, TrainClips
from mscl.errors import DataError, UserError
from mscl.evaluation.classification import classification, classification_report
from mscl.evaluation.classifier import Classifier, save_classifier
from mscl.evaluation.files import write_json
from mscl.evaluation.finetune import CLASSIFIER, METRICS, PREDICTIONS, FinetuneJob
from mscl.evaluation.finetune_loop import Probabilities, predict_all, train
from mscl.evaluation.labels import train_and_test, unfit
from mscl.models import load_rgb_encoder, untrained_encoder
from mscl.training.distributed import World, joined_world
from storage.flow_store import FlowReader
from storage.manifest import read_manifest

if TYPE_CHECKING:
    from storage.manifest import Manifest

Ints = np.ndarray[Any, np.dtype[np.int64]]


def finetune(job: FinetuneJob, world: World) -> dict[str, Any]:
    """Train on the train split, test on the test split; the first process writes the results and returns them all.

    A batch larger than the train split is lowered to it, and the metrics say so.

    Raises:
        DataError: a dataset without labels, train or test split.
        CheckpointError: a checkpoint that does not fit.
    """
    config = job.finetune
    manifest = read_manifest(Path(job.manifest_path)).ok()
    labels = np.asarray(manifest.column("label"), dtype=np.int64)
    split = [str(name) for name in manifest.column("split")]
    if reason := unfit(split, labels):
        raise DataError(f"fine-tuning: {reason}; check the dataset's lists")
    train_rows, test_rows = train_and_test(split, labels)
    val_rows = np.flatnonzero((np.asarray(split) == "val") & (labels >= 0))
    batch_size, notes = _batch_size(config.batch_size, len(train_rows), world)

    def tested(rows: Ints) -> tuple[Probabilities, Ints]:
        clips = _test_clips(job, manifest, rows, labels)
        videos = max(1, batch_size // config.test_clips)
        return predict_all(classifier, clips, videos_per_batch=videos, world=world, workers=job.runtime.loader_workers)

    def accuracy() -> float:
        probabilities, rows = tested(val_rows)
        return float((probabilities.argmax(axis=1) == labels[rows]).mean())

    folder = Path(job.output_folder)
    # With `val` standing in for an unlabelled test split, scoring every epoch on it would invite choosing by it.
    validates = len(val_rows) > 0 and not np.array_equal(val_rows, test_rows)
    classifier = _initial(job, len(manifest.classes))
    curve = train(
        classifier, _train_clips(job, manifest, train_rows, labels), config=config, batch_size=batch_size,
        folder=folder, world=world, workers=job.runtime.loader_workers, validate=accuracy if validates else None,
    )  # fmt: skip
    probabilities, rows = tested(test_rows)
    scores = classification(probabilities, labels[rows], seed=config.seed)
    extra = {"epochs": len(curve), "train_loss": curve[-1]["loss"], "warnings": notes}
    report = classification_report(scores, manifest.classes, extra=extra)
    if world.is_main:
        _write_predictions(folder / PREDICTIONS, manifest, rows, labels, probabilities)
        classes = tuple(manifest.classes)
        # What another video must go through to look like the ones that were trained on.
        flow = FlowReader(Path(job.extract_folder) / "flow.zarr").attributes.get("flow", {})
        source = {"gap_frames": int(flow.get("gap_frames", 1))}
        save_classifier(
            folder / CLASSIFIER, classifier, classes=classes, model=job.model, finetune=config, source=source
        )
        write_json(folder / METRICS, report)
    return report


def _initial(job: FinetuneJob, num_classes: int) -> Classifier:
    encoder = (
        load_rgb_encoder(Path(job.checkpoint)).train()
        if job.checkpoint
        else untrained_encoder(job.model, seed=job.finetune.seed).train()
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.finetune.seed)
        return Classifier(encoder, num_classes, dropout=job.finetune.dropout)


def _train_clips(job: FinetuneJob, manifest: "Manifest", rows: Ints, labels: Ints) -> TrainClips:
    config: FinetuneConfig = job.finetune
    return TrainClips(
        Path(job.extract_folder) / "frames", rows=rows, labels=labels[rows], length=config.frames,
        stride=config.stride, crop_px=config.crop_px, area=config.area, aspect=config.aspect, flip=config.flip,
        sampling=config.sampling, seed=config.seed, names=[str(name) for name in manifest.column("segment_id")],
    )  # fmt: skip


def _test_clips(job: FinetuneJob, manifest: "Manifest", rows: Ints, labels: Ints) -> EvalClips:
    config: FinetuneConfig = job.finetune
    return EvalClips(
        Path(job.extract_folder) / "frames", rows=rows, labels=labels[rows], clips=config.test_clips,
        length=config.frames, stride=config.stride, crop_px=config.test_crop_px, short_side_px=config.test_crop_px,
        sampling=config.sampling, names=[str(name) for name in manifest.column("segment_id")],
    )  # fmt: skip


def _batch_size(asked: int, videos: int, world: World) -> tuple[int, list[str]]:
    """The largest batch that the train split and the processes allow, and what to say about it."""
    batch_size = min(asked, videos) // world.size * world.size
    if batch_size == 0:
        raise DataError(f"fine-tuning: {videos} train videos for {world.size} processes; use fewer processes")
    if batch_size == asked:
        return asked, []
    return batch_size, [f"batch {batch_size} instead of {asked}: {videos} train videos, {world.size} processes"]


def _write_predictions(
    path: Path, manifest: "Manifest", rows: Ints, labels: Ints, probabilities: Probabilities
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from storage.atomic import write_atomic

    segment_ids = manifest.column("segment_id")
    table = pa.table(
        {
            "segment_id": pa.array([str(segment_ids[row]) for row in rows.tolist()]),
            "label": pa.array(labels[rows], pa.int32()),
            "predicted": pa.array(probabilities.argmax(axis=1), pa.int32()),
            "probabilities": pa.FixedSizeListArray.from_arrays(
                pa.array(probabilities.ravel(), pa.float32()), probabilities.shape[1]
            ),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_atomic(path, memoryview(sink.getvalue()))


def main(arguments: list[str]) -> int:
    """Run the job named on the command line; 0 when it is done, 2 when the user can mend what stopped it."""
    try:
        job = FinetuneJob.load(Path(arguments[0]))
        if job.runtime.threads:
            torch.set_num_threads(job.runtime.threads)
        with joined_world(job.runtime.device) as world:
            finetune(job, world)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
