"""The notebook of the documentation, from top to bottom, on what the tests have at hand."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "first_steps.ipynb"


def test_the_notebook_runs_from_top_to_bottom(
    tiny: Path, tiny_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # with it ipykernel leaves the output of commands to whoever started it
    shutil.copytree(tiny_workspace, tmp_path / "workspace")
    book = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (cell for cell in book.cells if "parameters" in cell.metadata.get("tags", []))
    videos = tiny.parent / "data" / "videos"
    parameters.source += f"\nPRESET, VIDEOS = {str(tiny)!r}, {str(videos)!r}"
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(output.get("text", "") for cell in book.cells for output in cell.get("outputs", []))
    assert "Nothing has changed: every stage was reused." in said
    assert "\x1b[2K" not in said  # a bar that is drawn over itself
    assert "(12, " in said and "failed: {}" in said and said.count(".mp4") >= 24
    assert (tmp_path / "motion.html").is_file() and len((tmp_path / "motion.csv").read_text().splitlines()) > 1


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells and all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
