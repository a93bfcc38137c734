"""The documentation as `make docs` wants it, as far as that is known without building it."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_every_page_is_in_a_table_of_contents_and_the_other_way_round() -> None:
    listed = [
        line.strip()
        for toc in re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.S)
        for line in toc.splitlines()
        if line.strip() and not line.startswith(":")
    ]
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")} - {"index"}
    pages = {page for page in pages if not page.startswith("_build/")}
    assert len(listed) == len(set(listed))
    assert set(listed) == pages


def test_pages_link_to_what_is_there() -> None:
    for path in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_files_that_documents_name_are_there() -> None:
    root = DOCS.parent
    tops = "flows|mscl|kernels|storage|tests|benchmarks|deploy|docs"
    for path in [root / "README.md", root / "CONTRIBUTING.md", *DOCS.glob("*.md")]:
        for name in re.findall(rf"`((?:{tops})/[\w./-]*)`|(?<![\w/])(?=((?:{tops})/[\w/-]+\.py))", path.read_text()):
            there = root / "".join(name)
            assert there.exists(), f"{path.name} names {there}"
    for name in re.findall(r"`(\w+/[\w./]*|\w+\.py)`", (DOCS / "architecture.md").read_text()):
        found = (root / name).exists() or any((root / "mscl").rglob(name.rstrip("/")))
        assert found, f"architecture.md names {name}"
