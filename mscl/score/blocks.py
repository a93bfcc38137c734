"""What the stages that score an encoder have to show, as blocks."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from mscl.display.blocks import Block, Chart, ContactSheet, Note, Number, SheetPicture, Table, attempt
from mscl.embedding.variants import in_order, variant_names
from mscl.extract.segment_pictures import SegmentPictures
from mscl.score.classifier_scores import HEADS, TITLES, ClassifierScores, ProbeMetrics
from mscl.score.figures import confusion_matrix, recall_curve, score_bars
from mscl.score.intervals import FEW_GROUPS, FEW_VIDEOS
from mscl.score.protocol import protocol_blocks
from mscl.score.retrieval_scores import RetrievalMetrics, RetrievalScores
from mscl.score.scores import Score, VariantScores, percent
from mscl.stage.skipped import Skipped
from mscl.stage.view import Stages
from storage.json_files import read_json

_QUERIES_SHOWN = 6
_NEIGHBOURS_SHOWN = 5
"""Of each of them."""


def probe_blocks(stages: Stages) -> list[Block]:
    """Accuracy of the classifier with its controls, and whom it takes for whom."""
    view = stages["probe"]
    metrics = ProbeMetrics.read(view.metrics)
    if isinstance(metrics, Skipped):
        return [Note(f"Skipped: {metrics.reason}.")]
    called, head = variant_names(stages), HEADS.get(metrics.head, metrics.head)
    shown = {name: metrics.variants[name] for name in in_order(metrics.variants)}
    name, scores = next(iter(shown.items()))
    what = f"{head[0].lower()}{head[1:]}, {called.get(name, name)} encoder"
    return [
        Chart(
            score_bars({f"{head}, top-1": {n: found.top1 for n, found in shown.items()}}, labels=called),
            caption=f"{head} on the features of each encoder, and on those of the controls",
        ),
        *score_tables({called.get(n, n): found for n, found in shown.items()}, caption=f"{head}, test videos"),
        *run_blocks(scores, what=f"{head}, {called.get(name, name)} encoder"),
        *(Note(f"{n}: {warning}") for n, found in shown.items() for warning in found.warnings),
        *attempt(
            "confusion matrix", lambda: [confusion_block(view.folder / "metrics.json", what, scores, variant=name)]
        ),
        *(Note(f"{note}.") for note in metrics.notes),
        *protocol_blocks(stages, "probe", scores.splits),
    ]


def retrieve_blocks(stages: Stages) -> list[Block]:
    """R@k with its controls, and neighbours as pictures."""
    view = stages["retrieve"]
    metrics = RetrievalMetrics.read(view.metrics)
    if isinstance(metrics, Skipped):
        return [Note(f"Skipped: {metrics.reason}.")]
    called = variant_names(stages)
    shown = {name: metrics.variants[name] for name in in_order(metrics.variants)}
    name, scores = next(iter(shown.items()))
    return [
        Chart(
            recall_curve(shown, labels=called),
            caption="Share of test videos with their class among the k nearest train videos",
        ),
        *score_tables(
            {called.get(n, n): found for n, found in shown.items()},
            caption="Retrieval, test videos among train videos",
        ),
        *run_blocks(scores, what=f"Encoder {called.get(name, name)}"),
        *(Note(f"{note}.") for note in metrics.notes),
        *protocol_blocks(stages, "retrieve", scores.splits),
        *attempt("neighbours", lambda: [neighbours(SegmentPictures.of(stages), view.folder)]),
    ]


def neighbours(pictures: SegmentPictures, folder: Path) -> ContactSheet:
    """Queries with the nearest train videos of the trained encoder, framed green where the class is the same, else red.

    Queries are spread over the classes; nothing is picked by success.

    Raises:
        KeyError: the result has no trained encoder.
    """
    found = read_json(folder / "neighbours.json")["trained"]
    place = {row: position for position, row in enumerate(found["query_rows"])}
    labels = np.asarray(pictures.manifest.column("label"))
    lines = []
    for query in pictures.sample(_QUERIES_SHOWN, among=found["query_rows"]):
        cells = [SheetPicture(pictures.thumb(query, mark="query"), pictures.class_name(query), "query")]
        rows, similarity = found["gallery_rows"][place[query]], found["similarity"][place[query]]
        for row, cosine in list(zip(rows, similarity, strict=True))[:_NEIGHBOURS_SHOWN]:
            right = bool(labels[row] == labels[query])
            caption = f"{'✓' if right else '✗'} {cosine:.2f} · {pictures.class_name(row)}"
            cells.append(
                SheetPicture(
                    pictures.thumb(row, mark="right" if right else "wrong"), caption, "right" if right else "wrong"
                )
            )
        lines.append((pictures.name(query), tuple(cells)))
    return ContactSheet(
        tuple(lines),
        caption="Blue: a test video; then its nearest train videos by cosine, green where the class is the same. "
        "Each picture: middle frame above, its flow below",
    )


def score_tables(rows: Mapping[str, VariantScores], *, caption: str) -> list[Block]:
    """Encoders as rows, scores as columns in % with their intervals, chance as the last row; and whether it decides.

    Args:
        rows: what an encoder is called -> its scores.
    """
    named = {label: scores.named() for label, scores in rows.items()}
    columns = list(dict.fromkeys(name for scores in named.values() for name in scores))
    return score_table(
        {label: {TITLES.get(name, name): scores.get(name) for name in columns} for label, scores in named.items()},
        caption=caption,
        corner="%",
    )


def score_table(
    rows: Mapping[str, Mapping[str, Score | None]], *, caption: str, corner: str = "encoder"
) -> list[Block]:
    """The table of scores: one for console, page and artifact. Rows -> columns -> score, all rows with all columns."""
    columns = list(next(iter(rows.values())))
    cells: list[tuple[str | Number, ...]] = [
        (label, *(score.cell if (score := scores[column]) else "" for column in columns))
        for label, scores in rows.items()
    ]
    chances = {
        column: next((s.chance for row in rows.values() if (s := row[column]) and s.chance is not None), None)
        for column in columns
    }
    if any(chance is not None for chance in chances.values()):
        cells.append(("chance", *("" if chance is None else percent(chance) for chance in chances.values())))
    table = Table((corner, *columns), tuple(cells), caption=caption, strong_first=True)
    return [table, *few_videos(score for row in rows.values() for score in row.values())]


def few_videos(scores: Iterable[Score | None]) -> list[Block]:
    """What is said in the place of intervals where test videos are too few for any."""
    few = next((score for score in scores if score is not None and score.decides_nothing), None)
    if few is None:
        return []
    one = few.few.startswith("1 ")
    least = f"{FEW_VIDEOS} test videos or {FEW_GROUPS} groups"
    return [Note(f"{few.few} decide{'s' if one else ''} nothing: under {least} there are no intervals.")]


def run_blocks(scores: VariantScores, *, what: str) -> list[Block]:
    """Every split and seed behind a mean, where there are several."""
    head: tuple[str, ...]
    rows: list[tuple[str | Number, ...]]
    match scores:
        case ClassifierScores(runs=runs) if len(runs) > 1:
            names = [name for name in scores.named() if all(name in run.named() for run in runs)]
            head = ("split", "seed", *(f"{TITLES[name]} %" for name in names), "test videos")
            rows = [("mean", "", *(scores.named()[name].cell for name in names), "")]
            for run in runs:
                cells = (run.named()[name].cell for name in names)
                rows.append((str(run.split), str(run.seed), *cells, f"{run.num_test:,}"))
        case RetrievalScores(runs=splits) if len(splits) > 1:
            names = [name for name in ("R@1", "R@5", "mAP") if all(name in run.named() for run in (scores, *splits))]
            head = ("split", *(f"{name} %" for name in names), "queries", "gallery")
            rows = [("mean", *(scores.named()[name].cell for name in names), "", "")]
            for found in splits:
                cells = (found.named()[name].cell for name in names)
                rows.append((str(found.split), *cells, f"{found.num_query:,}", f"{found.num_gallery:,}"))
        case _:
            return []
    return [Table(head, tuple(rows), caption=f"{what}: {scores.spread()}", strong_first=True)]


def confusion_block(path: Path, what: str, scores: ClassifierScores, *, variant: str = "") -> Chart:
    """Confusion matrix that a stage left in its metrics.json: of several runs the sum, so videos count in each."""
    report = read_json(path)
    report = report[variant] if variant else report
    summed = f", summed over {len(scores.runs)} runs (splits, seeds)" if len(scores.runs) > 1 else ""
    return Chart(confusion_matrix(report["confusion"], report["classes"]), caption=f"Confusion, {what}{summed}")
