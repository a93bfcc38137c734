"""What annotations come to, and the form in which the readers of the formats hand it over."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mscl.errors import DataError
from mscl.ingest.bucket import read_object

Split = Literal["train", "val", "test", "unlabelled", "unused"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One video of the dataset."""

    video: str
    """Path relative to the root, with forward slashes; the file exists."""
    class_name: str | None
    split: Split
    splits: tuple[Split, ...] = ()
    """What it is in each of the dataset's official splits, `unused` where it takes no part; empty: there is one."""
    seconds: float | None = field(default=None, compare=False)
    """How long its class is to be seen, by the list; None: that does not say."""


@dataclass(frozen=True)
class Annotations:
    """A dataset as it can be used here."""

    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    """Names in label order, without gaps: the label of a sample is the position of its class."""
    format: str
    missing: tuple[str, ...] = ()
    """Videos that the lists name and the root lacks, as they are listed."""
    notes: tuple[str, ...] = ()
    """What a user should know: what was left out, renumbered or guessed."""
    split_numbers: tuple[int, ...] = ()
    """Official splits, in the order of `Sample.splits`; empty: there is one."""
    splits_given: bool = True
    """Lists, folders or a pattern say what is tested; else a share of the videos that we chose."""


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """One line of a list: where the video may be, in order of preference, without saying that it is there."""

    paths: tuple[str, ...]
    class_name: str | None
    split: Split
    splits: tuple[Split, ...] = ()
    source: str = ""
    """Where it is listed, for messages."""
    also: tuple[str, ...] = ()
    """Names that the whole dataset has once, whatever the folder: not taken from the folder of another class."""
    seconds: float | None = None
    """From the begin to the end that the line names, if it does."""


@dataclass
class Listing:
    """What a reader makes of a dataset's lists."""

    rows: list[ListedVideo]
    classes: list[str]
    notes: list[str] = field(default_factory=list)
    split_numbers: tuple[int, ...] = ()
    splits_given: bool = True
    read: dict[Path, str] = field(default_factory=dict)
    """The lists that were read -> how many videos of which split each names, in words."""


def read_text(path: Path | str, *, setting: str = "") -> str:
    """The text of a list, without a byte order mark; line ends are as they are in the file.

    Args:
        path: text: an address in object storage.
        setting: that names it, for messages.

    Raises:
        DataError: the file cannot be read or is not UTF-8 text.
    """
    try:
        content = read_object(path, setting=setting) if isinstance(path, str) else path.read_bytes()
        if content.startswith(b"version https://git-lfs.github.com/spec/"):
            raise DataError(f"{path} is a pointer of Git LFS and not the list itself; `git lfs pull` fetches it")
        text = content.decode("utf-8-sig").replace("\n\ufeff", "\n")  # files put one after the other
        return re.sub(r"\Asep=.(?=[\r\n])", "", text)  # what tells Excel the separator
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from error


def read_lines(path: Path | str, *, setting: str = "") -> list[str]:
    """Lines of `read_text` without their ends (LF, CRLF or CR) and outer blanks; empty ones are left out.

    Raises:
        DataError: the file cannot be read or is not UTF-8 text.
    """
    # Not `splitlines`: it also cuts at characters that names may hold (U+2028, U+0085, form feed).
    text = read_text(path, setting=setting).replace("\r\n", "\n").replace("\r", "\n")
    return [line.strip() for line in text.split("\n") if line.strip()]


def is_number(text: str) -> bool:
    """Whether `text` is a label's number: ASCII digits, and few enough to be one."""
    return text.isascii() and text.isdigit() and len(text) <= 9


def listed_path(path: str, source: Path | str, *, roots: Sequence[str] = ()) -> str:
    """A path from a list, relative to the root and cleaned of `./`; refused if it could leave the root.

    Raises:
        DataError: an absolute path that is not under one of `roots`, or one with `..`.
    """
    inside = next((path[len(root) + 1 :] for root in roots if path.startswith(root + "/")), path)
    parts = [part for part in inside.replace("\\", "/").split("/") if part not in ("", ".")]
    on_a_drive = inside[1:3] in (":\\", ":/") and inside[0].isalpha()
    if on_a_drive or inside.startswith(("/", "\\")) or ".." in parts or not parts or "\0" in inside:
        raise DataError(
            f"{source} names {path!r}, which is outside data.root; paths in lists are relative to data.root and "
            "without '..': change the list"
        )
    return "/".join(parts)
