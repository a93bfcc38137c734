"""Contact sheets: clips kept and dropped by the screen, neighbours found by retrieval."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mscl.display.blocks import Cell, Contact, Photo
from mscl.display.pictures import heat_strip
from mscl.display.segment_pictures import Footage

if TYPE_CHECKING:
    from storage.screen_table import ScreenRow


def kept_and_dropped(footage: Footage, rows: Sequence["ScreenRow"], *, clip_span: int = 1, each: int = 3) -> Contact:
    """Per segment the clips with the highest scores among the chosen, and with the lowest among the dropped.

    `clip_span`: indices from the first to the last of a clip; its middle is shown.
    """
    middle = clip_span // 2
    lines = []
    for row in rows:
        scores = np.asarray(row.scores)
        chosen = np.asarray(row.chosen, dtype=int)
        dropped = np.setdiff1d(np.arange(row.num_candidates), chosen)
        median = float(np.median(scores)) if len(scores) else 0.0
        best = _apart(chosen[np.argsort(-scores[chosen], kind="stable")], each)
        worst = _apart(dropped[np.argsort(scores[dropped], kind="stable")], each)
        cells = [
            Cell(
                footage.thumb(row.segment, start + middle, mark="right"),
                f"kept · {scores[start]:.3g} > {median:.3g}",
                "right",
            )
            for start in best
        ]
        cells += [
            Cell(footage.thumb(row.segment, start + middle, mark="wrong"), f"dropped · {scores[start]:.3g}", "wrong")
            for start in worst
        ]
        lines.append((f"{footage.class_name(row.segment)} · {footage.name(row.segment)}", tuple(cells)))
    return Contact(
        tuple(lines),
        caption="Middle frame and its flow of clips that training sees (green: they score above the video's median) "
        "and of clips that it does not see (red)",
    )


def neighbours(footage: Footage, folder: Path, *, count: int, each: int = 5, variant: str = "trained") -> Contact:
    """Queries with their nearest train videos, framed green where the class is the same, red where not.

    Queries are spread over the classes; nothing is picked by success.

    Raises:
        KeyError: the result has no such variant.
    """
    from mscl.json_files import read_json

    found = read_json(folder / "neighbours.json")[variant]
    place = {row: position for position, row in enumerate(found["query_rows"])}
    labels = np.asarray(footage.manifest.column("label"))
    lines = []
    for query in footage.sample(count, among=found["query_rows"]):
        cells = [Cell(footage.thumb(query, mark="query"), footage.class_name(query), "query")]
        rows, similarity = found["gallery_rows"][place[query]], found["similarity"][place[query]]
        for row, cosine in list(zip(rows, similarity, strict=True))[:each]:
            right = bool(labels[row] == labels[query])
            caption = f"{'✓' if right else '✗'} {cosine:.2f} · {footage.class_name(row)}"
            cells.append(
                Cell(footage.thumb(row, mark="right" if right else "wrong"), caption, "right" if right else "wrong")
            )
        lines.append((footage.name(query), tuple(cells)))
    return Contact(
        tuple(lines),
        caption="Blue: a test video; then its nearest train videos by cosine, green where the class is the same. "
        "Each picture: middle frame above, its flow below",
    )


def heat_maps(footage: Footage, folder: Path, *, count: int = 2, frames: int = 8) -> list[Photo]:
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
    labels = np.asarray(footage.manifest.column("label"), dtype=np.int64)
    tested = first_run_videos(folder / PREDICTIONS)
    test = np.flatnonzero(np.isin(footage.manifest.column("video").astype(str), tested))
    photos = []
    for segment in footage.sample(count, among=test.tolist()):
        clips = EvalClips(
            footage.extract_folder / "frames", rows=np.array([segment]), labels=labels[[segment]], clips=1,
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
            f"Grad-CAM · {footage.class_name(segment)}, called {trained.classes[named]} "
            f"({100 * float(probabilities_C[named]):.0f} %) · {footage.name(segment)}"
        )
        photos.append(Photo(heat_strip(clip_THW3[shown], heat_THW[shown]), caption))
    return photos


def _apart(starts: "np.ndarray[tuple[int], np.dtype[np.int64]]", count: int) -> list[int]:
    """The first `count` starts that are not neighbours of one already taken, as far as there are such."""
    gap = max(1, len(starts) // (2 * count))
    taken: list[int] = []
    for start in starts.tolist():
        if len(taken) < count and all(abs(start - other) >= gap for other in taken):
            taken.append(int(start))
    return taken
