"""What annotations come to, and the form in which the readers of the formats hand it over."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mscl.errors import DataError

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


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list: where the video may be, in order of preference, without saying that it is there."""

    paths: tuple[str, ...]
    class_name: str | None
    split: Split
    splits: tuple[Split, ...] = ()


@dataclass
class Listing:
    """What a reader makes of a dataset's lists."""

    rows: list[Row]
    classes: list[str]
    notes: list[str] = field(default_factory=list)
    split_numbers: tuple[int, ...] = ()


def read_lines(path: Path) -> list[str]:
    """Lines without their ends (LF or CRLF) and outer blanks; empty ones are left out.

    Raises:
        DataError: the file cannot be read or is not UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def listed_path(path: str, source: Path) -> str:
    """A path from a list, cleaned of `./`; refused if it could leave the root.

    Raises:
        DataError: an absolute path, or one with `..`.
    """
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    if path.startswith(("/", "\\")) or path[1:2] == ":" or ".." in parts or not parts or "\0" in path:
        raise DataError(
            f"{source} names {path!r}, which is outside data.root; paths in lists are relative to data.root and "
            "without '..': change the list"
        )
    return "/".join(parts)
