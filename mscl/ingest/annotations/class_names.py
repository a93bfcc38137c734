"""Files of class names: `name` lines, counted by their place, or `number name` lines, which say their numbers."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mscl.errors import DataError
from mscl.ingest.annotations.index import folded, one_spelling
from mscl.ingest.annotations.samples import is_number, read_lines

_NUMBER_FIRST = re.compile(r'"?(?P<number>[0-9]{1,9})"?(?:\s*[,;:]\s*|[.)]?\s+)(?P<name>\S.*)', re.ASCII)
_NUMBER_LAST = re.compile(r"(?P<name>.*\S)\s*[,;\t]\s*(?P<number>[0-9]{1,9})", re.ASCII)
_NUMBER_LAST_AFTER_BLANK = re.compile(r".*\s(?P<number>[0-9]{1,9})", re.ASCII)
_NAME_WORDS = frozenset((
    "name", "label", "labels", "class", "classes", "category", "class_name", "classname", "label_name",
))  # fmt: skip
_NUMBER_WORDS = frozenset((
    "id", "no", "number", "index", "idx", "class_id", "class_idx", "class_index", "label_id", "label_idx",
))  # fmt: skip


def class_spelling(name: str) -> str:
    """The name of a class: blanks at its ends, and several or other ones in it, make no other class."""
    return " ".join(one_spelling(name).split())


def as_folder(name: str) -> str:
    """How the folder of a class is called, by whoever made it."""
    return folded(name).replace(" ", "_")


def in_order(names: Iterable[str]) -> list[str]:
    """Names of classes in the order of their labels: numbers as numbers, else by the alphabet."""
    found = list(names)
    return sorted(found, key=lambda name: (int(name), name)) if all(map(is_number, found)) else sorted(found)


def read_class_names(file: Path, notes: list[str], *, first: int | None = 0) -> dict[int, str]:
    """Number -> name, in the order of the numbers: those of the file where every line has one, else the places.

    A header and lines that begin with `#` are left out, which is noted.

    Args:
        first: number of the first line where lines have none; None: they must have one.

    Raises:
        DataError: no names, a number or a name that is there twice, numbers that are missing, or numbers behind the
            names that are not their places.
    """
    lines = read_lines(file)
    comments = [line for line in lines if line.startswith("#")]
    if comments:
        notes.append(f"{len(comments)} lines of {file.name} that begin with # are taken as comments")
        lines = [line for line in lines if not line.startswith("#")]
    if len(lines) > 1 and _is_header(lines[0]):
        notes.append(f"the first line of {file.name} is taken as a header: {lines[0]!r}")
        lines = lines[1:]
    if not lines:
        raise DataError(f"{file} holds no names of classes; write one a line")
    for form in (_NUMBER_FIRST, _NUMBER_LAST):
        matches = [match for line in lines if (match := form.fullmatch(line))]
        if len(matches) == len(lines):
            return _numbered(matches, file)
    begun = [line for line in lines if _NUMBER_FIRST.fullmatch(line)]
    if first is None:
        odd = next(line for line in lines if line not in begun)
        raise DataError(f"{file}: {odd!r} is not of the form 'number name'")
    if begun and begun == lines[1:]:
        raise DataError(f"{file}: {lines[0]!r} has no number and all other names have one; write 'number name' in each")
    if begun:
        notes.append(
            f"{len(begun)} of the {len(lines)} names in {file.name} begin with a number and the others do not: they "
            "are taken as they are, and classes are counted by their lines"
        )
    last = [match["number"] for line in lines if (match := _NUMBER_LAST_AFTER_BLANK.fullmatch(line))]
    counted = list(range(len(lines)))
    if len(last) == len(lines) and sorted(map(int, last)) == counted != list(map(int, last)):
        raise DataError(f"{file}: the numbers behind the names are not in order; write 'number name' lines")
    names = [_unquoted(line) for line in lines]
    refuse_equal_names(names, file)
    return dict(enumerate(names, start=first))


def _numbered(matches: "Sequence[re.Match[str]]", file: Path) -> dict[int, str]:
    numbers = [int(match["number"]) for match in matches]
    names = [_unquoted(match["name"]) for match in matches]
    _refuse_twice(numbers, file, "number")
    refuse_equal_names(names, file)
    return dict(sorted(zip(numbers, names, strict=True)))


def _is_header(line: str) -> bool:
    words = {word.strip('"').lower() for word in re.split(r"[\s,;:]+", line)}
    return words <= _NAME_WORDS | _NUMBER_WORDS and bool(words & _NAME_WORDS)


def refuse_equal_names(names: Iterable[str], file: Path) -> None:
    """Raises DataError if two classes have one name: they would become one."""
    _refuse_twice(names, file, "name")


def _refuse_twice(values: Iterable[object], file: Path, what: str) -> None:
    seen: dict[object, int] = {}
    for place, value in enumerate(values, start=1):
        if value in seen:
            raise DataError(
                f"{file}: classes {seen[value]} and {place} in it have the same {what}, {value!r}; give each its own"
            )
        seen[value] = place


def _unquoted(name: str) -> str:
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1].replace('""', '"')
    return class_spelling(name)
