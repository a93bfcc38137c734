"""One process of fine-tuning: `torchrun -m mscl.finetune.process JOB.json` (METHOD 1.8)."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mscl.array_types import Ints
from mscl.errors import DataError
from mscl.finetune.classifier import Classifier, save_classifier
from mscl.finetune.config import FinetuneConfig
from mscl.finetune.fit_classifier import fit_classifier
from mscl.finetune.job import CLASSIFIER, METRICS, FinetuneJob, note_finished
from mscl.finetune.probabilities import Probabilities, predict_all
from mscl.models.encoders import untrained_encoder
from mscl.models.files import read_encoder
from mscl.models.outside_encoder import ClipSettings, check_clip
from mscl.score.classification import classification
from mscl.score.labels import train_and_test, unfit
from mscl.score.predictions import PREDICTIONS, write_predictions
from mscl.score.scores import flat
from mscl.score.videos import Videos, mean_by
from mscl.training.distributed import World
from mscl.training.fit import Finished, StopRequest
from mscl.training.launch import loader_workers_of
from mscl.training.loader import prepare_workers
from mscl.training.process import run_job
from mscl.video.clips import EvalClips, TrainClips
from storage.json_files import write_json
from storage.layout import Extracted
from storage.manifest import read_manifest

if TYPE_CHECKING:
    from storage.manifest import Manifest


def finetune(job: FinetuneJob, world: World) -> Finished:
    """Train on the train split, test on the test split; the first process writes the results, `FINISHED` last.

    Training sees segments; scores count videos, whose probabilities are the mean over their segments.
    A batch larger than the train split is lowered to it, and the metrics say so.

    Raises:
        DataError: a dataset without labels, train or test split.
        CheckpointError: a checkpoint that does not fit.
    """
    manifest = read_manifest(Path(job.manifest_path)).ok()
    videos = Videos.of(manifest)
    if reason := unfit(videos.split_V, videos.labels_V):
        raise DataError(f"fine-tuning: {reason}; check the dataset's lists")
    train_videos, test_videos = train_and_test(videos.split_V, videos.labels_V)
    val_videos = np.flatnonzero((videos.split_V == "val") & (videos.labels_V >= 0))
    batch_size, notes = _batch_size(job.finetune.batch_size, len(videos.segments(train_videos)), world)
    config, said = _scaled(job.finetune, batch_size)
    workers = loader_workers_of(job.runtime)

    def tested(chosen: Ints) -> Probabilities:
        """(V, C) of some videos, in their order."""
        clips = _test_clips(job, manifest, videos.segments(chosen))
        at_once = max(1, batch_size // (config.test_clips * config.test_crops))
        probabilities, rows = predict_all(
            classifier, clips, videos_per_batch=at_once, world=world, workers=workers, precision=config.precision
        )
        return mean_by(np.searchsorted(chosen, videos.video_S[rows]), probabilities, len(chosen))

    def accuracy() -> float:
        return float((tested(val_videos).argmax(axis=1) == videos.labels_V[val_videos]).mean())

    folder = Path(job.output_folder)
    # With `val` standing in for an unlabelled test split, scoring every epoch on it would invite choosing by it.
    validates = len(val_videos) > 0 and not np.array_equal(val_videos, test_videos)
    train_clips = _train_clips(job, manifest, videos.segments(train_videos))
    prepare_workers(train_clips, workers=workers)
    classifier = _initial(job, len(manifest.classes))
    with StopRequest() as stop:
        finished, curve = fit_classifier(
            classifier, train_clips, config=config, batch_size=batch_size, folder=folder, world=world,
            workers=workers, stop=stop, validate=accuracy if validates else None, tracking=job.tracking,
        )  # fmt: skip
    if finished.stopped:
        return finished
    probabilities, labels = tested(test_videos), videos.labels_V[test_videos]
    scores = classification(probabilities, labels)
    report = flat(scores.scores()) | {
        "num_test": scores.num_test, "epochs": len(curve), "train_loss": curve[-1]["loss"],
        "warnings": [*notes, *said], "classes": list(manifest.classes), "confusion": scores.confusion_CC.tolist(),
    }  # fmt: skip
    if world.is_main:
        write_predictions(
            folder / PREDICTIONS,
            videos=[videos.names[video] for video in test_videos],
            labels_V=labels,
            probabilities_VC=probabilities,
        )
        save_classifier(
            folder / CLASSIFIER, classifier, classes=tuple(manifest.classes), model=job.model, finetune=job.finetune,
            encoder_input=job.encoder_input,
        )  # fmt: skip
        write_json(folder / METRICS, report)
        note_finished(folder)
    return finished


def _initial(job: FinetuneJob, num_classes: int) -> Classifier:
    config = job.finetune
    if job.checkpoint:
        file = read_encoder(Path(job.checkpoint), own_code=True)
        encoder = file.encoder if config.initial == "pretrained" else file.untrained(seed=config.seed)
        for crop_px, name in ((config.crop_px, "crop_px"), (config.test_crop_px, "test_crop_px")):
            settings = ClipSettings("finetune.frames", f"finetune.{name}")
            check_clip(encoder, frames=config.frames, crop_px=crop_px, settings=settings)
    else:
        encoder = untrained_encoder(job.model, seed=config.seed)
    encoder.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.finetune.seed)
        return Classifier(encoder, num_classes, dropout=job.finetune.dropout)


def _train_clips(job: FinetuneJob, manifest: "Manifest", rows: Ints) -> TrainClips:
    config: FinetuneConfig = job.finetune
    labels = np.asarray(manifest.column("label"), dtype=np.int64)
    return TrainClips(
        Extracted(Path(job.extract_folder)).frames, rows=rows, labels=labels[rows], length=config.frames,
        stride=config.stride, crop_px=config.crop_px, area=config.area, aspect=config.aspect, flip=config.flip,
        sampling=config.sampling, seed=config.seed, names=[str(name) for name in manifest.column("segment_id")],
    )  # fmt: skip


def _test_clips(job: FinetuneJob, manifest: "Manifest", rows: Ints) -> EvalClips:
    config: FinetuneConfig = job.finetune
    labels = np.asarray(manifest.column("label"), dtype=np.int64)
    return EvalClips(
        Extracted(Path(job.extract_folder)).frames, rows=rows, labels=labels[rows], clips=config.test_clips,
        length=config.frames, stride=config.stride, crop_px=config.test_crop_px, short_side_px=config.test_crop_px,
        sampling=config.sampling, crops=config.test_crops, names=[str(n) for n in manifest.column("segment_id")],
    )  # fmt: skip


def _batch_size(asked: int, videos: int, world: World) -> tuple[int, list[str]]:
    """The largest batch that the train split and the processes allow, and what to say about it."""
    batch_size = min(asked, videos) // world.size * world.size
    if batch_size == 0:
        raise DataError(f"fine-tuning: {videos} train segments for {world.size} processes; use fewer processes")
    if batch_size == asked:
        return asked, []
    shared = f" over {world.size} processes" if world.size > 1 else ""
    return batch_size, [f"batch {batch_size} instead of {asked}: {videos} train segments{shared}"]


def _scaled(config: FinetuneConfig, batch_size: int) -> tuple[FinetuneConfig, list[str]]:
    """The rate in proportion to the batch (Goyal et al., 2017), where the settings ask for that, and what to say."""
    meant_for = config.lr_batch_size or batch_size
    if batch_size == meant_for:
        return config, []
    rate = config.optim.lr * batch_size / meant_for
    scaled = config.model_copy(update={"optim": config.optim.model_copy(update={"lr": rate})})
    return scaled, [f"learning rate {rate:.3g} for batch {batch_size}: {config.optim.lr:g} is meant for {meant_for}"]


main = partial(run_job, FinetuneJob, finetune)
