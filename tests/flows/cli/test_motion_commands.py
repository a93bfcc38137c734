"""`mscl motion`: scores, page and export of a small workspace, and what users get wrong."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from flows.cli import app as console
from tests.mscl.screened_workspace import screened_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return screened_workspace(tmp_path_factory.mktemp("motion") / "w").root


def test_motion_from_scores_to_files(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def mscl(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["mscl", "motion", *arguments, "-w", str(workspace)])
        with pytest.raises(SystemExit) as left:
            console.main()
        return int(left.value.code or 0), *capsys.readouterr()

    code, out, _ = mscl("scores", "--by", "video", "--max", "mean_px=4.5", "--out", "calm.csv")
    assert code == 0 and "2 of 3 videos of motion 3333333333333333" in out and (tmp_path / "calm.csv").exists()
    assert "splits" not in out
    code, out, _ = mscl("scores", "--by", "video", "--min", "mean_px=4.5", "--out", "all.txt")
    assert code == 0 and "all.txt says no splits: as data.annotations all of it is train; .csv says them" in out
    with monkeypatch.context() as patch, pytest.raises(BrokenPipeError):  # `| head -1`: the file is there all the same
        patch.setattr("flows.cli.motion_scores.print_table", Mock(side_effect=BrokenPipeError))
        mscl("scores", "--out", "piped.csv")
    assert (tmp_path / "piped.csv").exists()
    code, out, _ = mscl("page")
    assert code == 0 and "motion.html" in out and 'class="film"' in (tmp_path / "motion.html").read_text()
    code, out, _ = mscl("export", "npz", "arrays", "--split", "test")
    assert code == 0 and "2 segments in arrays" in out
    for arguments, says in (
        (("scores", "--min", "mean_px=9"), "--min mean_px=9 leaves none of 4: their mean_px is 2 to 5"),
        (("export", "tar", "x"), "no form is called 'tar'; choose webdataset, flo, png, npz"),
        (("export", "flo", "."), ". is not empty and holds no export; give a folder that is empty or not there"),
        (("export", "webdataset", "x", "--starts", "some"), "--starts some: give chosen or all"),
        (("export", "flo", "arrays"), 'arrays holds another export: form "npz" there, "flo" here'),
    ):
        code, _, err = mscl(*arguments)
        assert code == 2 and says in err and err.count("\n") == 1 and err.startswith("mscl: ")


def test_the_page_of_videos_that_were_replaced_since_is_not_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    place = screened_workspace(tmp_path / "w")
    motion = place.by_key("3333").record
    place.commit(
        "motion", motion.key, version=motion.version, config=motion.config, inputs=motion.inputs, metrics={},
        timings={}, contents={"ingest": "what was there before"},
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["mscl", "motion", "page", "-w", str(place.root)])
    with pytest.raises(SystemExit, match="2"):
        console.main()
    assert "motion 3333333333333333 was made from another ingest" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "motion.html").exists()
