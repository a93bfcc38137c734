"""A stage as Markdown with embedded pictures, for Prefect's artifacts: whole, and never too large."""

import re
from collections.abc import Sequence
from html import escape

from mscl.display.amounts import byte_size
from mscl.display.blocks import (
    Block,
    Chart,
    Code,
    ContactSheet,
    FilmSheet,
    Note,
    Number,
    Photo,
    SheetPicture,
    Table,
    attempt,
)
from mscl.display.style import data_address, for_card
from mscl.stage.contract import Stage
from mscl.stage.view import StageView, by_stage, plain_metrics
from storage.record import short_key

_HEADING_OR_LIST = re.compile(r"(#{1,6}|[-+]|[0-9]+[.)])(?: |$)")
"""What a paragraph must not begin with."""


def stage_markdown(stage: Stage, view: StageView, inputs: Sequence[StageView], *, max_bytes: int = 900_000) -> str:
    """One stage as Markdown: its tables and pictures, then what it took and all plain numbers.

    Pictures that would make the text longer than `max_bytes` are left out, the largest first, and the text says so.
    Nothing that is missing or damaged among the stage's files makes this fail.

    Args:
        stage: says what there is to show.
        view: its result.
        inputs: everything that it was made of, from ingest on.
    """
    draw = stage.blocks
    blocks = attempt("pictures", lambda: draw(by_stage([*inputs, view]))) if draw is not None else []
    head = [f"# {view.stage}" + (f": {stage.title}" if stage.title else ""), *([stage.lead] if stage.lead else [])]
    facts = [("key", view.key), ("time", view.took), ("disk", byte_size(view.size_bytes))]
    facts += [("host", view.host)] if view.host else []
    facts += plain_metrics(view.metrics)
    # the key as its head: Markdown knows no table without
    foot = ["## Numbers of the run", markdown_table(facts[0], facts[1:])]
    if view.inputs:
        foot.append("made of " + ", ".join(f"{name} `{short_key(key)}`" for name, key in view.inputs.items()))
    return _within(head, [markdown_block(block) for block in blocks], foot, max_bytes)


def markdown_block(block: Block) -> str:
    """One block as Markdown."""
    match block:
        case Note(text):
            return _paragraph(text)
        case Table(head, rows, caption):
            return (f"**{_plain(caption)}**\n\n" if caption else "") + markdown_table(head, rows)
        case Chart(svg, caption):
            return f"**{_plain(caption)}**\n\n![{_plain(caption)}]({for_card(svg)})"
        case Photo(jpeg, caption):
            return f"**{_plain(caption)}**\n\n![{_plain(caption)}]({data_address(jpeg, 'image/jpeg')})"
        case ContactSheet(rows, caption):
            return _sheet(rows, caption)
        case FilmSheet(rows, caption):  # nothing moves here
            stills = [(title, [SheetPicture(one.still_jpeg, one.caption) for one in films]) for title, films in rows]
            return _sheet(stills, caption)
        case Code(text, title):
            return f"**{_plain(title)}**\n\n```yaml\n{text}\n```"


def _sheet(rows: Sequence[tuple[str, Sequence[SheetPicture]]], caption: str) -> str:
    above = f"**{_plain(caption)}**\n\n" if caption else ""
    return above + "\n\n".join(_contact_row(title, cells) for title, cells in rows)


def _contact_row(title: str, cells: Sequence[SheetPicture]) -> str:
    pictures = [f"![{_plain(cell.caption)}]({data_address(cell.jpeg, 'image/jpeg')})" for cell in cells]
    return f"{_paragraph(title)}\n\n" + _table([[_plain(cell.caption) for cell in cells], pictures])


def _within(head: list[str], parts: list[str], foot: list[str], max_bytes: int) -> str:
    kept = list(parts)
    dropped = 0
    while kept and _size(head + kept + foot) > max_bytes:
        largest = max(range(len(kept)), key=lambda place: len(kept[place]))
        del kept[largest]
        dropped += 1
    if dropped:
        kept.append(
            f"{dropped} large pictures or tables are only in report.html: they do not fit into {max_bytes:,} bytes."
        )
    text = "\n\n".join(head + kept + foot) + "\n"
    return text if len(text.encode()) <= max_bytes else text.encode()[:max_bytes].decode(errors="ignore")


def _size(parts: list[str]) -> int:
    return sum(len(part.encode()) + 2 for part in parts) + 200


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str | Number]]) -> str:
    """A table in Markdown; every cell is text, whatever it holds."""
    return _table([[_plain(str(value)) for value in line] for line in (head, *rows)])


def _table(lines: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; the first line is its head."""
    head, *rows = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def _plain(text: str) -> str:
    """Text that Markdown and HTML take as text: file names may hold anything."""
    clean = escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|~" else c for c in clean)


def _paragraph(text: str) -> str:
    """As `_plain`, for text that a line begins with."""
    plain = _plain(text)
    mark = _HEADING_OR_LIST.match(plain)
    return plain if mark is None else f"{plain[: mark.end(1) - 1]}\\{plain[mark.end(1) - 1 :]}"
