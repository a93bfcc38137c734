"""What finetune has to show: its curve and scores, confusion, and where the classifier looked."""

from pathlib import Path

import numpy as np

from mscl.display.blocks import Block, Chart, Note, Photo, attempt
from mscl.display.pictures import heat_strip
from mscl.extract.segment_pictures import SegmentPictures
from mscl.finetune.figures import finetune_curve
from mscl.score.blocks import confusion_block, score_table, warning_notes
from mscl.score.protocol import protocol_blocks, run_blocks
from mscl.stage.view import Stages
from storage.json_files import read_json, read_json_lines
from storage.layout import Extracted


def finetune_blocks(stages: Stages) -> list[Block]:
    """Curve over the epochs, scores, confusion."""
    view = stages["finetune"]
    if "skipped" in view.metrics:
        return [Note(f"Skipped: {view.metrics['skipped']}.")]
    metrics = view.metrics
    curve = read_json_lines(view.folder / "curve.jsonl")
    first = [(row.get("split"), row.get("seed")) for row in curve[:1]]
    curve = [row for row in curve if (row.get("split"), row.get("seed")) in first]
    several = len(metrics.get("runs", ())) > 1
    of_which = " of the first run" if several else ""
    full = read_json(view.folder / "metrics.json")
    table = score_table(
        {"finetuned": metrics, "chance": metrics["chance"]},
        ("top1", "top5", "mean_class"),
        caption="Fine-tuned, test videos",
    )
    return [
        Chart(
            finetune_curve(curve, test_top1=metrics["runs"][0]["top1"] if several else metrics["top1"]),
            caption=f"Fine-tuning{of_which}, epoch by epoch",
        ),
        table,
        *run_blocks(metrics, what="Fine-tuned"),
        *warning_notes({"finetuned": metrics}),
        *attempt("Grad-CAM", lambda: list(heat_maps(SegmentPictures.of(stages), view.folder))),
        confusion_block(full, "fine-tuned"),
        *protocol_blocks(stages, "finetune"),
    ]


def heat_maps(pictures: SegmentPictures, folder: Path, *, count: int = 2, frames: int = 8) -> list[Photo]:
    """Test videos with Grad-CAM of the fine-tuned classifier: where it saw the class that it named.

    Raises:
        CheckpointError: the result has no classifier.
    """
    from mscl.finetune.classifier import load_classifier
    from mscl.finetune.predict import grad_cam
    from mscl.score.predictions import PREDICTIONS, first_run_videos
    from mscl.video.clips import EvalClips

    trained = load_classifier(folder / "classifier.safetensors")
    config = trained.finetune
    labels = np.asarray(pictures.manifest.column("label"), dtype=np.int64)
    tested = first_run_videos(folder / PREDICTIONS)
    test = np.flatnonzero(np.isin(pictures.manifest.column("video").astype(str), tested))
    photos = []
    for segment in pictures.sample(count, among=test.tolist()):
        clips = EvalClips(
            Extracted(pictures.extract_folder).frames, rows=np.array([segment]), labels=labels[[segment]], clips=1,
            length=config.frames, stride=config.stride, crop_px=config.test_crop_px,
            short_side_px=config.test_crop_px, sampling=config.sampling,
        )  # fmt: skip
        batch = clips.load(0, np.array([0]))
        probabilities_C = trained.classifier.probabilities(batch.rgb_BKTHW3)[0]
        named = int(probabilities_C.argmax())
        clip_THW3 = batch.rgb_BKTHW3[0, 0].numpy()
        heat_THW = grad_cam(trained.classifier, clip_THW3, label=named)
        shown = np.linspace(0, len(clip_THW3) - 1, min(frames, len(clip_THW3))).astype(int)
        caption = (
            f"Grad-CAM · {pictures.class_name(segment)}, called {trained.classes[named]} "
            f"({100 * float(probabilities_C[named]):.0f} %) · {pictures.name(segment)}"
        )
        photos.append(Photo(heat_strip(clip_THW3[shown], heat_THW[shown]), caption))
    return photos
