"""What finetune has to show: its curve and scores, confusion, and where the classifier looked."""

from pathlib import Path

import numpy as np

from mscl.display.blocks import Block, Chart, Note, Photo, attempt
from mscl.display.pictures import heat_strip
from mscl.extract.segment_pictures import SegmentPictures
from mscl.finetune.figures import finetune_curve
from mscl.finetune.scores import FinetuneMetrics
from mscl.score.blocks import confusion_block, run_blocks, score_tables
from mscl.score.classifier_scores import ClassifierScores
from mscl.score.protocol import protocol_blocks
from mscl.stage.skipped import Skipped
from mscl.stage.view import Stages
from storage.json_lines import read_json_lines
from storage.layout import Extracted

_VIDEOS_SHOWN = 2
_FRAMES_SHOWN = 8
"""Of each of them."""


def finetune_blocks(stages: Stages) -> list[Block]:
    """Curve over the epochs, scores, confusion."""
    view = stages["finetune"]
    metrics = FinetuneMetrics.read(view.metrics)
    if isinstance(metrics, Skipped):
        return [Note(f"Skipped: {metrics.reason}.")]
    return [
        *attempt("curve", lambda: [_curve(view.folder, metrics.scores)]),
        *finetune_tables(metrics),
        *(Note(f"{warning}.") for warning in metrics.scores.warnings),
        *attempt("Grad-CAM", lambda: list(heat_maps(SegmentPictures.of(stages), view.folder))),
        *attempt(
            "confusion matrix", lambda: [confusion_block(view.folder / "metrics.json", "fine-tuned", metrics.scores)]
        ),
        *(Note(f"{note}.") for note in metrics.notes),
        *protocol_blocks(stages, "finetune", metrics.scores.splits),
    ]


def finetune_tables(metrics: FinetuneMetrics) -> list[Block]:
    """Scores beside chance, and every run behind them."""
    splits = len(metrics.scores.splits)
    caption = f"Fine-tuned, {metrics.scores.num_test:,} test videos{f' of {splits} splits' if splits > 1 else ''}"
    return [
        *score_tables({"fine-tuned": metrics.scores}, caption=caption),
        *run_blocks(metrics.scores, what="Fine-tuned"),
    ]


def _curve(folder: Path, scores: ClassifierScores) -> Chart:
    """Epochs of the first run."""
    curve = read_json_lines(folder / "curve.jsonl")
    first = [(row.get("split"), row.get("seed")) for row in curve[:1]]
    curve = [row for row in curve if (row.get("split"), row.get("seed")) in first]
    several = len(scores.runs) > 1
    test = scores.runs[0].top1 if several else scores.top1
    return Chart(
        finetune_curve(curve, test_top1=test.value),
        caption=f"Fine-tuning{' of the first run' if several else ''}, epoch by epoch",
    )


def heat_maps(pictures: SegmentPictures, folder: Path) -> list[Photo]:
    """Test videos with Grad-CAM of the fine-tuned classifier: where it saw the class that it named.

    Raises:
        CheckpointError: the result has no classifier.
    """
    from mscl.finetune.classifier import load_classifier
    from mscl.finetune.predict import grad_cam
    from mscl.score.predictions import PREDICTIONS, first_run_videos
    from mscl.video.clips import EvalClips

    trained = load_classifier(folder / "classifier.safetensors", own_code=True)
    config = trained.finetune
    labels = np.asarray(pictures.manifest.column("label"), dtype=np.int64)
    tested = first_run_videos(folder / PREDICTIONS)
    test = np.flatnonzero(np.isin(pictures.manifest.column("video").astype(str), tested))
    stride = trained.input.recipe.nearest_stride(config.stride, gap_frames=pictures.gap_frames)
    photos = []
    for segment in pictures.sample(_VIDEOS_SHOWN, among=test.tolist()):
        clips = EvalClips(
            Extracted(pictures.extract_folder).frames, rows=np.array([segment]), labels=labels[[segment]], clips=1,
            length=config.frames, stride=stride, crop_px=config.test_crop_px,
            short_side_px=config.test_crop_px, sampling=config.sampling,
        )  # fmt: skip
        batch = clips.load(0, np.array([0]))
        probabilities_C = trained.classifier.probabilities(batch.rgb_BKTHW3)[0]
        named = int(probabilities_C.argmax())
        clip_THW3 = batch.rgb_BKTHW3[0, 0].numpy()
        heat_THW = grad_cam(trained.classifier, clip_THW3, label=named)
        shown = np.linspace(0, len(clip_THW3) - 1, min(_FRAMES_SHOWN, len(clip_THW3))).astype(int)
        caption = (
            f"Grad-CAM · {pictures.class_name(segment)}, this clip alone called {trained.classes[named]} "
            f"({100 * float(probabilities_C[named]):.0f} %) · {pictures.name(segment)}"
        )
        photos.append(Photo(heat_strip(clip_THW3[shown], heat_THW[shown]), caption))
    return photos
