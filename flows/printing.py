"""What commands print: tables and sentences that also make up the report, and a user's text as nothing but text.

Names of videos, classes and folders are anybody's: `[brackets]` are no markup, and a control character or an escape
sequence is shown escaped instead of reaching the terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from rich.box import HEAVY_HEAD, Box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from mscl.display.blocks import Block, Note, Table

_NO_EDGE = 10_000
_ESCAPED = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories: control characters, bytes that are no text, separators of lines and paragraphs."""
_TURNS_TEXT = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction in which what follows is read."""


def visible(text: str, *, lines: bool = False) -> str:
    """Text with its control characters escaped: `\\x1b` instead of the byte. `lines`: its line breaks stay."""
    return "".join(_escaped(char) if _is_hidden(char) and not (lines and char == "\n") else char for char in text)


def print_line(console: Console, text: str, *, style: str = "") -> None:
    """Text as it is, never wrapped: what is copied from a terminal stays whole."""
    console.print(Text(visible(text, lines=True), style=style), soft_wrap=True, highlight=False)


def print_table(
    console: Console, head: Sequence[str], rows: Iterable[Sequence[object]], *, style: str = "", box: Box | None = None
) -> None:
    """A table of plain cells; the last column takes what room there is left."""
    table = RichTable(box=box)
    for name in head:
        table.add_column(Text(visible(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(str(cell))) for cell in row), style=style)
    before = console.width
    if not console.is_terminal:  # a file or a pipe has no edge to fold at
        whole = console.measure(table, options=console.options.update(max_width=_NO_EDGE)).maximum
        console.width = max(before, whole)
    try:
        console.print(table)
    finally:
        console.width = before


def print_blocks(console: Console, blocks: Iterable[Block]) -> None:
    """Tables and sentences of a report; pictures are for pages."""
    for block in blocks:
        if isinstance(block, Note):
            _print_note(console, block.text)
        elif isinstance(block, Table):
            if block.caption:
                print_line(console, block.caption)
            print_table(console, block.head, block.rows, box=HEAVY_HEAD)


def _print_note(console: Console, text: str) -> None:
    """In a terminal broken between words, beside its label; elsewhere a line."""
    if not console.is_terminal:
        print_line(console, f"Note         {text}")
        return
    table = RichTable.grid()
    table.add_column(width=13)
    table.add_column(overflow="fold")
    table.add_row("Note", Text(visible(text, lines=True)))
    console.print(table)


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in _ESCAPED or char in _TURNS_TEXT


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
