"""What the stages that score an encoder have to show, as blocks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mscl.display.blocks import Block, Cell, Chart, Contact, Note, Table, attempt
from mscl.embedding.variants import VARIANT_NAMES, variant_names
from mscl.extract.segment_pictures import SegmentPictures
from mscl.score.figures import confusion_matrix, recall_curve, score_bars
from mscl.score.protocol import HEADS, protocol_blocks, run_blocks
from mscl.stage.view import Stages
from storage.json_files import read_json


def probe_blocks(stages: Stages) -> list[Block]:
    """Accuracy of the linear classifier with its controls, and whom it takes for whom."""
    view = stages["probe"]
    if "skipped" in view.metrics:
        return [Note(f"Skipped: {view.metrics['skipped']}.")]
    chance, head = view.metrics["chance"]["top1"], HEADS[view.metrics.get("head", "linear")]
    called = variant_names(stages)
    full = read_json(view.folder / "metrics.json")
    name = "trained" if "trained" in full else next(n for n in VARIANT_NAMES if n in full)
    return [
        Chart(
            score_bars({f"{head}, top-1": (view.metrics, "top1", chance)}, labels=called),
            caption=f"{head} on the features of each encoder, and on those of frozen-frame clips",
        ),
        score_table(view.metrics, ("top1", "top5", "mean_class"), caption=f"{head}, test videos", called=called),
        *run_blocks(full[name], what=f"{head}, {called[name]} encoder"),
        *warning_notes(view.metrics),
        confusion_block(full[name], f"{head[0].lower()}{head[1:]}, {called[name]} encoder"),
        *protocol_blocks(stages, "probe"),
    ]


def retrieve_blocks(stages: Stages, *, queries: int = 6) -> list[Block]:
    """R@k with its controls, and neighbours as pictures."""
    view = stages["retrieve"]
    if "skipped" in view.metrics:
        return [Note(f"Skipped: {view.metrics['skipped']}.")]
    metrics, chance = view.metrics, view.metrics["chance"]
    scores, called = tuple(chance), variant_names(stages)
    blocks: list[Block] = [
        Chart(
            recall_curve(metrics, chance, labels=called),
            caption="Share of test videos with their class among the k nearest train videos",
        ),
        score_table(metrics, scores, caption="Retrieval, test videos among train videos", called=called),
    ]
    if "trained" in metrics:
        blocks += run_blocks(metrics["trained"], score="R@1", what=f"Encoder {called['trained']}")
    blocks += [Note(f"{note}.") for note in metrics.get("notes", [])]
    blocks += protocol_blocks(stages, "retrieve")
    return [
        *blocks,
        *attempt("neighbours", lambda: [neighbours(SegmentPictures.of(stages), view.folder, count=queries)]),
    ]


def neighbours(
    pictures: SegmentPictures, folder: Path, *, count: int, each: int = 5, variant: str = "trained"
) -> Contact:
    """Queries with their nearest train videos, framed green where the class is the same, red where not.

    Queries are spread over the classes; nothing is picked by success.

    Raises:
        KeyError: the result has no such variant.
    """
    found = read_json(folder / "neighbours.json")[variant]
    place = {row: position for position, row in enumerate(found["query_rows"])}
    labels = np.asarray(pictures.manifest.column("label"))
    lines = []
    for query in pictures.sample(count, among=found["query_rows"]):
        cells = [Cell(pictures.thumb(query, mark="query"), pictures.class_name(query), "query")]
        rows, similarity = found["gallery_rows"][place[query]], found["similarity"][place[query]]
        for row, cosine in list(zip(rows, similarity, strict=True))[:each]:
            right = bool(labels[row] == labels[query])
            caption = f"{'✓' if right else '✗'} {cosine:.2f} · {pictures.class_name(row)}"
            cells.append(
                Cell(pictures.thumb(row, mark="right" if right else "wrong"), caption, "right" if right else "wrong")
            )
        lines.append((pictures.name(query), tuple(cells)))
    return Contact(
        tuple(lines),
        caption="Blue: a test video; then its nearest train videos by cosine, green where the class is the same. "
        "Each picture: middle frame above, its flow below",
    )


def score_table(
    metrics: Mapping[str, Any], scores: Sequence[str], *, caption: str, called: Mapping[str, str] = VARIANT_NAMES
) -> Table:
    """Variants as rows, scores as columns in %, with the interval behind."""
    variants = [*VARIANT_NAMES, "finetuned", "chance"]
    titles = {"top1": "top-1", "top5": "top-5", "mean_class": "class mean"}
    rows = [name for name in variants if name in metrics]
    shown = [score for score in scores if any(score in metrics[name] for name in rows if name != "chance")]
    names = {**called, "finetuned": "fine-tuned"}
    return Table(
        ("%", *(titles.get(score, score) for score in shown)),
        tuple((names.get(name, name), *(_percent(metrics[name], score) for score in shown)) for name in rows),
        caption=caption,
        strong_first=True,
    )


def confusion_block(report: Mapping[str, Any], what: str) -> Chart:
    """Confusion matrix of a classification report."""
    return Chart(confusion_matrix(report["confusion"], report["classes"]), caption=f"Confusion, {what}")


def _percent(metrics: Mapping[str, Any], score: str) -> str:
    if score not in metrics:
        return ""
    text = f"{100 * metrics[score]:.1f}"
    interval = metrics.get(f"{score}_interval")
    return f"{text} ({100 * interval[0]:.0f}–{100 * interval[1]:.0f})" if interval else text


def warning_notes(metrics: Mapping[str, Any]) -> list[Block]:
    """What was complained about while variants were scored."""
    return [
        Note(f"{name}: {warning}")
        for name, values in metrics.items()
        if isinstance(values, Mapping)
        for warning in values.get("warnings", [])
    ]
