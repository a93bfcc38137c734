"""The labels of a plain list: names, or numbers that a file beside it may give names."""

import re
from dataclasses import dataclass
from pathlib import Path

from mscl.errors import DataError
from mscl.ingest.annotations.class_names import as_folder, in_order, read_class_names
from mscl.ingest.annotations.list_columns import NUMBER_OR_NOTHING
from mscl.ingest.annotations.list_lines import Line
from mscl.ingest.annotations.samples import Split, is_number

_NOTHING = re.compile(r"nan|none|null|n/a|na", re.IGNORECASE)
_SEVERAL = re.compile(r"[\[(]?\s*\d+(\s*[,;|/\s]\s*\d+)+\s*[\])]?")
"""Labels of several classes, as `0,3` or `[0, 3]`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a list, read."""

    line: Line
    path: str
    label: str
    split: Split | None = None


def classes_of(entries: list[Entry], names: Path | None, notes: list[str]) -> tuple[dict[str, str], list[str]]:
    """What each label of a list is called, and the names in label order.

    Args:
        names: file of class names beside the list.

    Raises:
        DataError: labels that can be read in several ways, or that `names` does not have; with the line.
    """
    labels = {entry.label for entry in entries}
    whole = {label: label.removesuffix(".0") for label in labels}  # a column of numbers as pandas writes it
    odd = next((entry for entry in entries if not is_number(whole[entry.label])), None)
    if odd is not None and all(NUMBER_OR_NOTHING.fullmatch(label) for label in labels):
        raise odd.line.refused(
            f"has label {odd.label}, and labels here are numbers, which count classes from 0 up; take the line out if "
            "nobody knows its class (what -1 and nan mostly mean), or write names in place of numbers"
        )
    several = {label for label in labels if _SEVERAL.fullmatch(label)}
    if several and all(map(is_number, labels - several)):
        line = next(entry.line for entry in entries if entry.label in several)
        raise line.refused(
            "has several numbers for a label, and a video with several labels cannot be used: write 'path label'"
        )
    if odd is not None:
        for file in dict.fromkeys(entry.line.file for entry in entries):
            if all(is_number(entry.label) for entry in entries if entry.line.file == file):
                raise DataError(
                    f"the labels of {file} are numbers, and those of other lists beside it are names; "
                    "write them in one way, or give one list as data.annotations"
                )
        if nothing := sorted(filter(_NOTHING.fullmatch, labels)):
            named = ", ".join(map(repr, nothing))
            notes.append(f"{named} is taken as the name of a class; where it means none, take these lines out")
        if names is not None:
            notes.append(f"{names.name} is not used: labels are names, and classes are counted by the alphabet")
        return {label: label for label in labels}, sorted(labels)
    if names is None:
        # Codes of one width (001, 002) are names as well.
        codes = len(set(map(len, labels))) == 1
        shown = {label: number if codes else str(int(number)) for label, number in whole.items()}
        if merged := sorted(label for label, number in shown.items() if number in labels and number != label):
            notes.append(f"labels are numbers: {merged[0]} and {shown[merged[0]]} are the same class")
        return shown, in_order(set(shown.values()))
    known = read_class_names(names, notes)
    unknown = next((entry for entry in entries if int(whole[entry.label]) not in known), None)
    if unknown is not None:
        raise unknown.line.refused(
            f"has label {unknown.label}, which is none of the {len(known)} numbers, {min(known)} to {max(known)}, that "
            f"{names} gives its classes"
        )
    if list(known) != list(range(len(known))) or "0" not in whole.values():
        notes.append(
            f"labels are the numbers that {names.name} gives its classes, {min(known)} to {max(known)}: "
            f"{min(known)} is {known[min(known)]!r}"
        )
    called = {label: known[int(number)] for label, number in whole.items()}
    _refuse_names_of_other_folders(entries, called, list(known.values()), names)
    return called, list(known.values())


def _refuse_names_of_other_folders(
    entries: list[Entry], called: dict[str, str], classes: list[str], names: Path
) -> None:
    """Refuse numbers that are counted from 0 where the names are from 1, or the other way round: the folders tell."""
    by_folder = {as_folder(name): name for name in classes}
    told = [(entry, by_folder.get(as_folder(entry.path.rpartition("/")[0].rpartition("/")[2]))) for entry in entries]
    told = [(entry, name) for entry, name in told if name is not None]
    odd = [(entry, name) for entry, name in told if name != called[entry.label]]
    if odd and 2 * len(odd) > len(told):
        entry, name = odd[0]
        raise entry.line.refused(
            f"has label {entry.label}, which {names} calls {called[entry.label]!r}, and lies in a folder {name!r}, as "
            f"{len(odd)} of {len(told)} lines have another class than their folder: write 'number name' lines with the "
            "numbers of this list there, or names in place of numbers here"
        )
