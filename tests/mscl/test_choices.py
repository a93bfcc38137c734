"""docs/choices.md says what is true: its settings exist, its files and its tests are there."""

import ast
import re
from pathlib import Path

import pytest

from mscl.config import load_config

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in (ROOT / "docs" / "choices.md").read_text().splitlines()
    if re.match(r"\| D\d+ ", line)
]
OWN_DEFAULT = {"D16"}
"""Rows whose default is the published behaviour."""


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def all_tests() -> set[str]:
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }


def test_every_departure_has_its_row() -> None:
    assert [row[0] for row in ROWS] == [f"D{number}" for number in range(4, 25)]


def test_files_and_tests_are_there() -> None:
    known = all_tests()
    for number, _, _, code, tests in ROWS:
        assert names_in(tests) and names_in(code), number
        assert [name for name in names_in(tests) if name not in known] == [], number
        assert [name for name in names_in(code) if not (ROOT / name).is_file()] == [], number


@pytest.mark.parametrize(("number", "setting"), [(row[0], s) for row in ROWS for s in names_in(row[2])])
def test_the_released_behaviour_is_a_setting(number: str, setting: str) -> None:
    ours, released = load_config("kinetics400-r18"), load_config("kinetics400-r18", [setting])
    assert (ours == released) == (number in OWN_DEFAULT)
