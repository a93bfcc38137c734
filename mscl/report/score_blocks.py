"""What the stages that score an encoder have to show, as blocks."""

from collections.abc import Mapping, Sequence
from typing import Any

from mscl.display.blocks import Block, Chart, Note, Table, attempt
from mscl.display.segment_pictures import Footage, read_jsonl
from mscl.report import figures
from mscl.report.contact_sheets import heat_maps, neighbours
from mscl.report.figures.scores import VARIANT_NAMES
from mscl.report.protocol import HEADS, protocol_blocks, run_blocks
from mscl.stage.view import Stages

_NAME_LENGTH = 20


def embed_blocks(stages: Stages) -> list[Block]:
    """Sizes and rates."""
    metrics = stages["embed"].metrics
    called = variant_names(stages)
    rates = tuple(
        (called[name], f"{metrics[f'{name}_videos_per_second']:.1f}")
        for name in VARIANT_NAMES
        if f"{name}_videos_per_second" in metrics
    )
    note = Note(f"{metrics.get('videos', '?')} videos, {metrics.get('feature_dim', '?')} numbers each.")
    return [note, Table(("encoder", "videos per second"), rates, caption="Embedding")] if rates else [note]


def probe_blocks(stages: Stages) -> list[Block]:
    """Accuracy of the linear classifier with its controls, and whom it takes for whom."""
    from mscl.json_files import read_json

    view = stages["probe"]
    if "skipped" in view.metrics:
        return [Note(f"Skipped: {view.metrics['skipped']}.")]
    chance, head = view.metrics["chance"]["top1"], HEADS[view.metrics.get("head", "linear")]
    called = variant_names(stages)
    full = read_json(view.folder / "metrics.json")
    name = "trained" if "trained" in full else next(n for n in VARIANT_NAMES if n in full)
    return [
        Chart(
            figures.score_bars({f"{head}, top-1": (view.metrics, "top1", chance)}, labels=called),
            caption=f"{head} on the features of each encoder, and on those of frozen-frame clips",
        ),
        score_table(view.metrics, ("top1", "top5", "mean_class"), caption=f"{head}, test videos", called=called),
        *run_blocks(full[name], what=f"{head}, {called[name]} encoder"),
        *_warnings(view.metrics),
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
            figures.recall_curve(metrics, chance, labels=called),
            caption="Share of test videos with their class among the k nearest train videos",
        ),
        score_table(metrics, scores, caption="Retrieval, test videos among train videos", called=called),
    ]
    if "trained" in metrics:
        blocks += run_blocks(metrics["trained"], score="R@1", what=f"Encoder {called['trained']}")
    blocks += [Note(f"{note}.") for note in metrics.get("notes", [])]
    blocks += protocol_blocks(stages, "retrieve")
    return [*blocks, *attempt("neighbours", lambda: [neighbours(Footage.of(stages), view.folder, count=queries)])]


def finetune_blocks(stages: Stages) -> list[Block]:
    """Curve over the epochs, scores, confusion."""
    from mscl.json_files import read_json

    view = stages["finetune"]
    if "skipped" in view.metrics:
        return [Note(f"Skipped: {view.metrics['skipped']}.")]
    metrics = view.metrics
    curve = read_jsonl(view.folder / "curve.jsonl")
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
            figures.finetune_curve(curve, test_top1=metrics["runs"][0]["top1"] if several else metrics["top1"]),
            caption=f"Fine-tuning{of_which}, epoch by epoch",
        ),
        table,
        *run_blocks(metrics, what="Fine-tuned"),
        *_warnings({"finetuned": metrics}),
        *attempt("Grad-CAM", lambda: list(heat_maps(Footage.of(stages), view.folder))),
        confusion_block(full, "fine-tuned"),
        *protocol_blocks(stages, "finetune"),
    ]


def variant_names(stages: Stages) -> dict[str, str]:
    """How the variants are called on the page: a given encoder was not trained here."""
    given = str(stages["pretrain"].metrics.get("given", "")) if "pretrain" in stages else ""
    if not given:
        return dict(VARIANT_NAMES)
    name = given if len(given) <= _NAME_LENGTH else f"{given[: _NAME_LENGTH - 1]}…"
    return {**VARIANT_NAMES, "trained": f"given: {name}", "trained_frozen": "given, frozen"}


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
    return Chart(figures.confusion_matrix(report["confusion"], report["classes"]), caption=f"Confusion, {what}")


def _percent(metrics: Mapping[str, Any], score: str) -> str:
    if score not in metrics:
        return ""
    text = f"{100 * metrics[score]:.1f}"
    interval = metrics.get(f"{score}_interval")
    return f"{text} ({100 * interval[0]:.0f}–{100 * interval[1]:.0f})" if interval else text


def _warnings(metrics: Mapping[str, Any]) -> list[Block]:
    return [
        Note(f"{name}: {warning}")
        for name, values in metrics.items()
        if isinstance(values, Mapping)
        for warning in values.get("warnings", [])
    ]
