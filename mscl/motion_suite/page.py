"""What the motion suite found as one table, one figure and one sentence an encoder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mscl.display.blocks import Number, Table
from mscl.display.style import BLUE, GREY, INK, ORANGE, TEAL, canvas, card_svg, to_svg
from mscl.motion_suite.part_features import UNTRAINED
from mscl.motion_suite.suite_scores import STILL, PartScores, verdict
from mscl.report.markdown import markdown_table
from mscl.score.scores import percent
from storage.atomic import write_atomic
from storage.errors import DamagedError
from storage.json_files import read_json_object, write_json

PAGE, FIGURE, SCORES = "motion-suite.md", "motion-suite.svg", "motion-suite.json"
EXPLAINED = (
    "Linear top-1, % of the test videos, with 95 % intervals. First, middle, last: clips that repeat that one frame of "
    "the video. Shuffled: the frames of each clip in random order. Random: moving clips, random weights. Labels: "
    "what a small network trained on the labels reached, measured once on the suite at its usual size, not in this run"
)
_LONGEST_NAME = 30
ScoresByEncoder = Mapping[str, Sequence[PartScores]]
"""Encoder -> its scores."""


def scores_table(found: ScoresByEncoder) -> Table:
    """A row per part: moving clips, then the controls, then what there is to reach; encoders one below the other."""
    head = ("part", "clips", "first middle last", "shuffled", "random", "chance", "labels")
    rows: list[tuple[str | Number, ...]] = []
    short = {name: name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in found}
    if len(set(short.values())) < len(found):  # two files that are called alike stand by their whole paths
        short = {name: name for name in found}
    for name, parts in found.items():
        if len(found) > 1:
            rows.append((short[name], *[""] * (len(head) - 1)))
        for scores in parts:
            chance, controls = scores.moving.chance, scores.controls
            rows.append((
                scores.part, scores.moving.cell, " ".join(percent(controls[control].value) for control in STILL),
                percent(controls["shuffled"].value), percent(controls[UNTRAINED].value),
                "" if chance is None else percent(chance), "" if scores.ceiling is None else percent(scores.ceiling),
            ))  # fmt: skip
    return Table(head, tuple(rows), caption=EXPLAINED)


def figure(found: ScoresByEncoder) -> str:
    """A panel per encoder, a line per part: filled what moving clips score, hollow the single frames."""
    rows = max(len(parts) for parts in found.values())
    with canvas((0.34 * rows + 0.6) * len(found) + 0.5) as drawn:
        axes = drawn.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
        for axis, (name, parts) in zip(axes, found.items(), strict=True):
            for place, scores in enumerate(parts):
                if scores.ceiling is not None:
                    axis.plot([100 * scores.ceiling] * 2, [place - 0.3, place + 0.3], color=GREY, linewidth=1.5)
                if scores.moving.chance is not None:
                    axis.plot([100 * scores.moving.chance] * 2, [place - 0.3, place + 0.3], color=INK, linestyle=":")
                still = [100 * scores.controls[control].value for control in STILL]
                axis.scatter(still, [place] * 3, s=24, facecolors="none", edgecolors=GREY)
                axis.scatter([100 * scores.controls["shuffled"].value], [place], s=30, color=TEAL, marker="D")
                axis.scatter([100 * scores.controls[UNTRAINED].value], [place], s=30, color=ORANGE, marker="x")
                low, high = scores.moving.interval or (scores.moving.value,) * 2
                axis.plot([100 * low, 100 * high], [place, place], color=BLUE, linewidth=2)
                axis.scatter([100 * scores.moving.value], [place], s=42, color=BLUE, zorder=3)
            axis.set_yticks(range(len(parts)), [scores.part for scores in parts])
            axis.set_ylim(len(parts) - 0.5, -0.5)
            axis.set_title(name, fontweight="bold", loc="left")
            axis.grid(axis="y", visible=False)
            axis.tick_params(axis="y", length=0)
        axes[-1].set_xlim(0, 102)
        axes[-1].set_xlabel(
            "% of the test videos; blue: clips, circles: one frame, diamond: shuffled, cross: untrained,\n"
            "dotted: chance, grey line: supervised"
        )
        return to_svg(drawn)


def replaced_by(
    folder: Path, encoders: Sequence[str], *, parts: Sequence[str], settings: Mapping[str, Any]
) -> list[str]:
    """Encoders whose scores `write_page` has left in `folder`, and would not write again as they are.

    Args:
        encoders: those that are to be written now.
        parts: of these; all for none.
    """
    try:
        there = read_json_object(folder / SCORES)
        scored = {name: {str(one["part"]) for one in records} for name, records in there["encoders"].items()}
    except (DamagedError, KeyError, TypeError, AttributeError):
        return []
    same = there.get("settings") == dict(settings)
    return [
        name
        for name, scored_parts in scored.items()
        if not (same and name in encoders and (not parts or scored_parts <= set(parts)))
    ]


def write_page(folder: Path, found: ScoresByEncoder, *, settings: Mapping[str, Any]) -> Path:
    """Write table, figure and sentences into `folder`; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    table = scores_table(found)
    said = [verdict(name, parts) for name, parts in found.items()]
    records = {name: [scores.as_record() for scores in parts] for name, parts in found.items()}
    write_json(folder / SCORES, {"settings": dict(settings), "encoders": records, "verdicts": said})
    write_atomic(folder / FIGURE, card_svg(figure(found)).encode())
    lines = [
        "# Motion suite", *said, markdown_table(table.head, table.rows), f"{EXPLAINED}.",
        f"![clips beside single frames, shuffled frames, chance and ceiling]({FIGURE})",
        ", ".join(f"{name} {value}" for name, value in settings.items()),
    ]  # fmt: skip
    write_atomic(folder / PAGE, "\n\n".join(lines).encode() + b"\n")
    return folder / PAGE
