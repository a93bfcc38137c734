"""What each stage has to show: its record and its files as blocks, for the page and for Markdown alike."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mscl.display.blocks import Block, Chart, Note, Photo, Table
from mscl.display.pictures import flow_strip
from mscl.display.segment_pictures import Footage, class_table, read_jsonl, verdicts
from mscl.report import figures
from mscl.report.contact_sheets import kept_and_dropped
from mscl.report.figures.lineage import byte_size
from mscl.report.figures.training import LOSS_NAMES
from mscl.report.score_blocks import embed_blocks, finetune_blocks, probe_blocks, retrieve_blocks
from mscl.stage.view import Stages, StageView

_MAX_ROWS = 30


def ingest_blocks(stages: Stages) -> list[Block]:
    """Verdicts, classes by split, and the videos that were left out with the reason."""
    from storage.manifest import read_manifest

    manifest = read_manifest(stages["ingest"].folder / "manifest.parquet")
    counts = verdicts(manifest)
    total = sum(counts.values())
    blocks: list[Block] = [
        Table(
            ("verdict", "segments", "share"),
            tuple((name, f"{count:,}", f"{count / total:.1%}") for name, count in counts.most_common()),
            caption="What the decoder found",
        )
    ]
    if missing := stages["ingest"].metrics.get("missing"):
        blocks.append(Note(f"{missing:,} more videos are listed and not there; missing.txt of this result names them."))
    classes = class_table(manifest)
    if classes:
        splits = tuple(classes[0][1])
        rows = [(name or "(no class)", *(f"{by[split]:,}" for split in splits)) for name, by in classes[:_MAX_ROWS]]
        sums = ("all", *(f"{sum(by[split] for _, by in classes):,}" for split in splits))
        more = f", the first {_MAX_ROWS} of {len(classes)}" if len(classes) > _MAX_ROWS else ""
        blocks.append(Table(("class", *splits), (*rows, sums), caption=f"Usable segments by class and split{more}"))
    bad = np.flatnonzero(np.asarray([str(verdict) != "ok" for verdict in manifest.column("verdict")]))
    if len(bad):
        rows_bad = tuple(
            (row.video, row.verdict, row.reason) for row in (manifest.row(int(i)) for i in bad[:_MAX_ROWS])
        )
        more = f", the first {_MAX_ROWS} of {len(bad)}" if len(bad) > _MAX_ROWS else ""
        blocks.append(Table(("video", "verdict", "reason"), rows_bad, caption=f"Not quite right{more}", words=True))
    return blocks


def extract_blocks(stages: Stages, *, count: int = 4) -> list[Block]:
    """Frames with their flow in colour underneath."""
    footage = Footage.of(stages)
    flow = stages["extract"].config.get("flow", {})
    span = flow.get("span_frames", "?")
    what = f"{flow.get('method', 'flow')} over {span} frame{'' if span == 1 else 's'}"
    blocks: list[Block] = []
    for segment in footage.sample(count):
        indices = footage.strip_indices(segment)
        numbers = ", ".join(str(index * footage.gap_frames) for index in indices)
        caption = f"{footage.class_name(segment)} · {footage.name(segment)} · {what} · from frames {numbers}"
        blocks.append(Photo(flow_strip(*footage.strip(segment, indices)), caption))
    return blocks


def motion_blocks(stages: Stages) -> list[Block]:
    """How much moves."""
    from storage.motion_store import MotionReader

    store = MotionReader(stages["motion"].folder / "motion.zarr")
    count = len(Footage.of(stages).manifest)
    strongest = np.array([np.nanmax(store.magnitude_p99(i), initial=0.0) for i in range(count)])
    screen = stages["screen"].config.get("screen", {}) if "screen" in stages else {}
    chart = figures.motion_histogram(strongest, threshold_px=screen.get("min_motion_px"))
    middle = f"half of the {count:,} segments move faster than {np.median(strongest):.2f} px per field somewhere"
    return [Chart(chart, caption=f"How much moves: {middle}")]


def screen_blocks(stages: Stages, *, curves: int = 2, sheet: int = 4) -> list[Block]:
    """Verdicts of the screen, motion curves with chosen and dropped starts, clips kept and dropped."""
    from storage.motion_store import MotionReader
    from storage.screen_table import read_screen

    footage = Footage.of(stages)
    table = read_screen(stages["screen"].folder / "screen.parquet")
    rows = list(table.rows())
    names = [str(row.verdict) for row in rows]
    reasons = {
        name: next((row.reason for row in rows if row.verdict == name and row.reason), "") for name in set(names)
    }
    blocks: list[Block] = [
        Table(
            ("verdict", "segments", "chosen starts", "of candidates"),
            tuple(
                (
                    name,
                    f"{names.count(name):,}",
                    f"{sum(len(row.chosen) for row in rows if row.verdict == name):,}",
                    f"{sum(row.num_candidates for row in rows if row.verdict == name):,}",
                )
                for name in sorted(set(names), key=lambda name: -names.count(name))
            ),
            caption="What motion differential sampling decided",
        )
    ]
    blocks += [Note(f"{name}, for example: {reason}") for name, reason in sorted(reasons.items()) if reason]
    store = MotionReader(stages["motion"].folder / "motion.zarr")
    picked = [row.segment for row in rows if row.verdict == "chosen"]
    for segment in footage.sample(curves, among=picked):
        row = rows[segment]
        chart = figures.motion_curve(
            store.differences(segment), np.asarray(row.scores), [int(i) for i in row.chosen],
            frame_step=footage.gap_frames, title=f"{footage.class_name(segment)} · {footage.name(segment)}",
        )  # fmt: skip
        caption = "Motion differences of the fields (above); scores of the clips that start there (below)"
        blocks.append(Chart(chart, caption=caption))
    blocks.append(
        kept_and_dropped(footage, [rows[i] for i in footage.sample(sheet, among=picked)], clip_span=_clip_span(stages))
    )
    return blocks


def pretrain_blocks(stages: Stages) -> list[Block]:
    """Every loss term over the steps, and where it ended."""
    view = stages["pretrain"]
    if "given" in view.metrics:
        return [Note(f"Nothing was trained: the encoder was given, {view.metrics['given']}.")]
    rows = read_jsonl(view.folder / "metrics.jsonl")
    if not rows:
        return [Note("The training has logged no step.")]
    queue = view.config.get("pretrain", {}).get("loss", {}).get("queue_size")
    blocks: list[Block] = [
        Chart(
            figures.loss_curves(rows, queue_size=queue),
            caption="The terms of the loss (METHOD 1.6); faint: each logged step",
        )
    ]
    tail = rows[-max(1, len(rows) // 20) :]
    ends = [
        (
            title,
            f"{_mean(tail, name):.3f}",
            f"{100 * _mean(tail, f'{name}_top1'):.1f} %" if f"{name}_top1" in tail[-1] else "",
        )
        for name, title in LOSS_NAMES.items()
        if name in tail[-1]
    ]
    if ends:
        blocks.append(
            Table(("term", "loss", "top-1"), tuple(ends), caption="Mean over the last twentieth of the training")
        )
    return blocks


BLOCKS: dict[str, Callable[[Stages], list[Block]]] = {
    "ingest": ingest_blocks,
    "extract": extract_blocks,
    "motion": motion_blocks,
    "screen": screen_blocks,
    "pretrain": pretrain_blocks,
    "embed": embed_blocks,
    "probe": probe_blocks,
    "retrieve": retrieve_blocks,
    "finetune": finetune_blocks,
}


def sizes_table(views: Sequence[StageView]) -> Table:
    """Key, time and disk of every stage."""
    from mscl.report.figures.lineage import duration

    return Table(
        ("stage", "key", "time", "disk", "made"),
        tuple((v.stage, v.key[:8], duration(v.seconds), byte_size(v.size_bytes), _date(v)) for v in views),
        caption="Stages",
    )


def _date(view: StageView) -> str:
    return view.created_at[:16].replace("T", " ")


def _clip_span(stages: Stages) -> int:
    clip = stages["screen"].config.get("clip", {})
    return (int(clip.get("length", 1)) - 1) * int(clip.get("stride", 1)) + 1


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(np.mean([row[name] for row in rows if name in row]))
