"""docs/method.md says what is true: every number that is cited is there, and its settings, files and tests exist."""

import ast
import re
from pathlib import Path

import pytest

from mscl.config import load_config

ROOT = Path(__file__).parents[2]
METHOD = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in METHOD.splitlines()
    if re.match(r"\| D\d+ ", line)
]
SECTIONS = set(re.findall(r"^#+ (\d+(?:\.\d+)*) ", METHOD, re.M)) | set(
    re.findall(r"^\*\*(\d+\.\d+\.\d+) ", METHOD, re.M)
)
OWN_DEFAULT = {"D16", "D26"}
"""Rows whose default is the published behaviour."""

CITED_SECTIONS = re.compile(r"METHOD ((?:D?\d+(?:\.\d+)*(?:, | to | and |-)?)+)")
"""METHOD 1.4.3, 1.4.4; METHOD 1.5 to 1.7; METHOD D19."""
CITED_ROWS = re.compile(r"\bD([4-9]|[1-9]\d)\b")


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def all_tests() -> set[str]:
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }


def cited_in(text: str) -> set[str]:
    sections = {number for found in CITED_SECTIONS.findall(text) for number in re.findall(r"\d+(?:\.\d+)+", found)}
    return sections | {f"D{number}" for number in CITED_ROWS.findall(text)}


def texts() -> dict[str, str]:
    """Everything that a reader of the repository opens, by its path."""
    kinds = {".py", ".cpp", ".h", ".md", ".yaml", ".html"}
    folders = ("flows", "mscl", "kernels", "storage", "tests", "benchmarks", "docs")
    paths = [path for name in folders for path in (ROOT / name).rglob("*") if path.suffix in kinds and path.is_file()]
    paths += ROOT.glob("*.md")
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def test_every_number_that_is_cited_is_there() -> None:
    known = SECTIONS | {row[0] for row in ROWS}
    cited = {path: cited_in(text) for path, text in texts().items()}
    assert {path: numbers - known for path, numbers in cited.items() if numbers - known} == {}
    assert len(set().union(*cited.values())) > 30  # the pattern does find citations


def test_citations_are_found_in_every_form() -> None:
    line = "(METHOD 1.4.3, 1.4.4; D5, D11) METHOD 1.5 to 1.7, METHOD D19 and METHOD 1.2, steps 1 to 4"
    assert cited_in(line) == {"1.4.3", "1.4.4", "D5", "D11", "1.5", "1.7", "D19", "1.2"}


def test_every_departure_has_its_row() -> None:
    assert [row[0] for row in ROWS] == [f"D{number}" for number in range(4, 29)]


def test_files_and_tests_are_there() -> None:
    known = all_tests()
    for number, _, _, _, code, tests in ROWS:
        assert names_in(tests) and names_in(code), number
        assert [name for name in names_in(tests) if name not in known] == [], number
        assert [name for name in names_in(code) if not (ROOT / name).is_file()] == [], number


def test_files_that_sections_name_are_there() -> None:
    text = METHOD.partition("\n## 2 ")[0]
    named = [name for name in names_in(text) if re.match(r"(flows|mscl|kernels|storage)/", name)]
    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(("number", "setting"), [(row[0], s) for row in ROWS for s in names_in(row[3])])
def test_the_released_behaviour_is_a_setting(number: str, setting: str) -> None:
    ours, released = load_config("kinetics400-r18"), load_config("kinetics400-r18", [setting])
    assert (ours == released) == (number in OWN_DEFAULT)
