"""What a report is made of, before it becomes HTML or Markdown."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mscl.errors import UserError

_log = logging.getLogger(__name__)

Mark = Literal["", "right", "wrong", "query"]


@dataclass(frozen=True)
class Note:
    """A sentence."""

    text: str


class Number(NamedTuple):
    """A number, and what stands small beside it: its interval."""

    text: str
    beside: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.beside})" if self.beside else self.text


@dataclass(frozen=True)
class Table:
    """Plain cells; columns after the first are numbers unless `words` is set."""

    head: tuple[str, ...]
    rows: tuple[tuple[str | Number, ...], ...]
    caption: str = ""
    words: bool = False
    strong_first: bool = False
    """The first row is the one to look at."""


@dataclass(frozen=True)
class Chart:
    """A picture that was drawn as SVG."""

    svg: str
    caption: str
    wide: bool = False
    """Needs the page's whole width."""


@dataclass(frozen=True)
class Photo:
    """A JPEG."""

    jpeg: bytes
    caption: str
    is_legend: bool = False
    """Small beside what it explains."""


@dataclass(frozen=True)
class SheetPicture:
    """One picture of a contact sheet; its mark is also painted as a frame into the picture."""

    jpeg: bytes
    caption: str
    mark: Mark = ""


@dataclass(frozen=True)
class ContactSheet:
    """Rows of small pictures, each row with a title."""

    rows: tuple[tuple[str, tuple[SheetPicture, ...]], ...]
    caption: str = ""


@dataclass(frozen=True)
class Film:
    """A short clip: its frames side by side in one JPEG, of which the page shows one after the other."""

    strip_jpeg: bytes
    still_jpeg: bytes
    """One frame of it, for where nothing moves."""
    num_frames: int
    width_px: int
    """Of a frame."""
    step_px: int
    """From the left edge of a frame to that of the next."""
    seconds: float
    """How long it lasts."""
    caption: str


@dataclass(frozen=True)
class FilmSheet:
    """Rows of short clips, each row with a title."""

    rows: tuple[tuple[str, tuple[Film, ...]], ...]
    caption: str = ""


@dataclass(frozen=True)
class Code:
    """Text in a fixed-width font, folded away until it is asked for."""

    text: str
    title: str


Block = Note | Table | Chart | Photo | ContactSheet | FilmSheet | Code


@dataclass(frozen=True)
class PageSection:
    """A part of the page, or all that a stage has to show."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]
    lead: str = ""
    """One or two sentences under the title."""


def attempt(what: str, draw: Callable[[], list[Block]]) -> list[Block]:
    """Blocks, or a sentence that says why they could not be made: a report never fails for a picture.

    The traceback is logged: where no file and no user is to blame, the fault is ours.
    """
    try:
        return draw()
    except (OSError, ValueError, KeyError, IndexError, ImportError) as error:
        expected = isinstance(error, OSError | UserError)
        _log.log(logging.DEBUG if expected else logging.WARNING, "no %s", what, exc_info=True)
        return [Note(f"No {what}: {type(error).__name__}: {error}")]
