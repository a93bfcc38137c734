"""Ingest on real disks: broken links, private folders, odd names, copies, damaged logs; and datasets that move."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mscl.config import ExperimentConfig, load_config
from mscl.errors import DataError
from mscl.extract.stage import EXTRACT
from mscl.ingest.annotations import read_annotations
from mscl.ingest.stage import INGEST
from mscl.pipeline import Outcome, execute
from mscl.progress import Silent
from mscl.stage.view import StageView
from storage.manifest import SegmentRow, read_manifest
from storage.workspace import Workspace
from tests.mscl.written_videos import WriteVideo, gradient_frames, write_frames
from tests.other_users import another_user, open_folder


class Heard(Silent):
    """Remembers what was said, and how many videos were looked at."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.looked_at = 0

    def say(self, message: str) -> None:
        self.lines.append(message)

    def advance(self, n: int = 1, **info: float | str) -> None:
        self.looked_at += n


def config_of(root: Path, *overrides: str) -> ExperimentConfig:
    return load_config("demo", [f"data.root={root}", "runtime.workers=1", "flow.span_frames=8", *overrides])


def ingest(workspace: Path, root: Path, *overrides: str, heard: Heard | None = None) -> Outcome:
    return execute(INGEST, Workspace(workspace), config_of(root, *overrides), {}, progress=heard or Heard())


def rows_of(outcome: Outcome) -> dict[str, SegmentRow]:
    return {row.video: row for row in read_manifest(outcome.result.folder / "manifest.parquet").rows()}


def two_classes(root: Path) -> Path:
    for place, name in enumerate(("a/1.mp4", "a/2.mp4", "b/3.mp4", "b/4.mp4")):
        write_frames(root / name, gradient_frames(20, width=64 + 16 * place))
    return root


def test_a_broken_link_is_a_missing_video(tmp_path: Path) -> None:
    root = two_classes(tmp_path / "v")
    (root / "a" / "dead.mp4").symlink_to("gone.mp4")
    (root / "a" / "annex.mp4").symlink_to("../../.git/annex/objects/xy.mp4")
    (root / "b" / "loop.mp4").symlink_to("loop.mp4")
    (root / "b" / "loops").symlink_to("loops")
    rows = rows_of(ingest(tmp_path / "w", root, "data.test_fraction=0"))
    assert {name: row.verdict for name, row in rows.items() if row.verdict != "ok"} == {
        "a/dead.mp4": "missing", "a/annex.mp4": "missing", "b/loop.mp4": "unreadable"
    }  # fmt: skip
    assert len(rows) == 7


def test_names_that_are_not_utf8_are_said_before_anything_is_decoded(tmp_path: Path) -> None:
    root = two_classes(tmp_path / "v")
    folder = os.fsencode(root) + b"/caf\xe9"
    os.mkdir(folder)
    shutil.copy(os.fsencode(root / "a" / "1.mp4"), folder + b"/5.mp4")
    (notes := read_annotations(config_of(root).data).notes)
    assert any(
        r"1 videos have names that are not UTF-8 and cannot be used, the first: caf\xe9/5.mp4" in n for n in notes
    )
    outcome = ingest(tmp_path / "w", root)
    row = rows_of(outcome)[r"caf\xe9/5.mp4"]
    assert row.verdict == "unreadable" and "rename it" in row.reason and row.class_name == r"caf\xe9"
    assert outcome.result.record.metrics["verdicts"] == {"ok": 4, "unreadable": 1}


def test_private_folders_in_and_beside_the_root(write_video: WriteVideo) -> None:
    with open_folder() as disk:
        root = two_classes(disk / "videos")
        private = [disk / "lost+found", root / "lost+found"]
        for folder in private:
            folder.mkdir()
            (folder / "trainlist01.txt").touch()
            folder.chmod(0)
        (root / "a" / "1.mp4").chmod(0)
        with another_user():
            found = read_annotations(config_of(root).data)
        for folder in private:
            folder.chmod(0o755)
        assert len(found.samples) == 4 and found.format == "folders"
        assert any("1 folders may not be read and are left out, the first: lost+found (Perm" in n for n in found.notes)


def test_a_damaged_line_of_unfinished_work_costs_its_video_and_no_other(tmp_path: Path) -> None:
    root = two_classes(tmp_path / "v")
    whole = ingest(tmp_path / "w", root)
    folder = whole.result.folder
    (path,) = folder.glob(".inspected-*.log")
    log = path.read_bytes()
    for damage in (b"\xff\xfe no JSON \x80", b"", None):
        (folder / "record.json").unlink(missing_ok=True)
        lines = [line for line in log.split(b"\n") if line]
        if damage is None:  # a flipped bit that leaves it JSON: 20 frames become 21
            lines[1] = lines[1].replace(b'"num_frames": 20', b'"num_frames": 21')
        else:
            lines[1] = damage
        lines[-1] = lines[-1][:40]  # a kill in the middle of a write
        path.write_bytes(b"\n".join(lines))
        again = ingest(tmp_path / "w", root, heard=(heard := Heard()))
        assert heard.looked_at == 2 and rows_of(again) == rows_of(whole)


@pytest.fixture
def moved(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A dataset with its lists, ingested and extracted in a workspace; and its copy elsewhere, with new time stamps."""
    root = two_classes(tmp_path / "first" / "v")
    (root.parent / "train.txt").write_text("a/1.mp4 a\na/2.mp4 a\nb/3.mp4 b\n")
    (root.parent / "test.txt").write_text("b/4.mp4 b\n")
    shutil.copytree(tmp_path / "first", tmp_path / "scratch" / "deep", copy_function=shutil.copyfile)
    return tmp_path / "w", root, tmp_path / "scratch" / "deep" / "v"


def both_stages(workspace: Path, root: Path, *overrides: str) -> tuple[Outcome, Outcome]:
    settings = (f"data.annotations={root.parent}", "flow.method=farneback", *overrides)
    first = ingest(workspace, root, *settings)
    inputs = {"ingest": first.result}
    return first, execute(EXTRACT, Workspace(workspace), config_of(root, *settings), inputs)


def test_a_dataset_that_was_copied_elsewhere_is_not_computed_again(moved: tuple[Path, Path, Path]) -> None:
    workspace, root, copy = moved
    first = both_stages(workspace, root)
    assert first[0].result.record.config["data"]["root"] == str(root)
    shutil.rmtree(root.parent)
    again = both_stages(workspace, copy)
    assert all(outcome.reused for outcome in again)
    assert [outcome.result.key for outcome in again] == [outcome.result.key for outcome in first]


def test_a_stage_that_is_not_done_reads_the_videos_where_they_are_now(moved: tuple[Path, Path, Path]) -> None:
    workspace, root, copy = moved
    ingest(workspace, root, f"data.annotations={root.parent}")
    shutil.rmtree(root.parent)
    found, extracted = both_stages(workspace, copy)
    assert found.reused and not extracted.reused and extracted.result.record.metrics["segments"] == 4


def test_other_bytes_of_the_same_size_are_another_dataset(moved: tuple[Path, Path, Path]) -> None:
    workspace, root, copy = moved
    frames = np.random.default_rng(0).integers(0, 255, (20, 32, 32, 3), dtype=np.uint8)
    for place, pictures in ((root, frames), (copy, frames[::-1].copy())):
        write_frames(place / "a" / "1.mp4", 20)
        (place / "a" / "1.mp4").unlink()
        write_frames(place / "a" / "1.avi", pictures, codec="rawvideo", pix_fmt="bgr24")
    assert (root / "a" / "1.avi").stat().st_size == (copy / "a" / "1.avi").stat().st_size
    first, second = (ingest(workspace, place, f"data.annotations={place.parent}") for place in (root, copy))
    assert first.result.key != second.result.key
    # What is put in the place of a video after ingest is not taken for it.
    shutil.copyfile(copy / "a" / "1.avi", root / "a" / "1.avi")
    settings = (f"data.annotations={root.parent}", "flow.method=farneback")
    with pytest.raises(DataError, match="is not the file that was ingested"):
        execute(EXTRACT, Workspace(workspace), config_of(root, *settings), {"ingest": first.result})


def test_paths_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_classes(tmp_path / "v")
    (tmp_path / "list.txt").write_text("a/1.mp4 a\nb/3.mp4 b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    outcome = ingest(tmp_path / "w", Path("~/v"), "data.annotations=~/list.txt")
    assert outcome.result.record.metrics["videos"] == 2
    assert outcome.result.record.config["data"]["root"] == str(tmp_path / "v")


@pytest.mark.parametrize("keep", ["keep", "drop"])
def test_a_test_video_that_was_trained_on_is_said_and_stays(tmp_path: Path, keep: str) -> None:
    from mscl.display.blocks import Note

    root = two_classes(tmp_path / "v")
    shutil.copyfile(root / "a" / "1.mp4", root / "b" / "5.mp4")
    shutil.copyfile(root / "a" / "1.mp4", root / "a" / "6.mp4")
    (tmp_path / "train.txt").write_text("a/1.mp4 a\na/2.mp4 a\na/6.mp4 a\nb/3.mp4 b\n")
    (tmp_path / "test.txt").write_text("b/4.mp4 b\nb/5.mp4 b\n")
    settings = (f"data.annotations={tmp_path}", f"data.test_twins={keep}")
    outcome = ingest(tmp_path / "w", root, *settings, heard=(heard := Heard()))
    rows = rows_of(outcome)
    assert rows["a/6.mp4"].verdict == "duplicate"
    assert any("3 videos have the bytes of a video of another class" in line for line in heard.lines)
    if keep == "drop":
        assert rows["b/5.mp4"].verdict == "duplicate"
        return
    assert rows["b/5.mp4"].verdict == "ok" and rows["b/5.mp4"].reason == "same bytes as a/1.mp4, a train video"
    said = "1 test videos have the bytes of a train video, the first: b/5.mp4 those of a/1.mp4"
    assert any(said in line for line in heard.lines)
    record = outcome.result.record
    view = StageView("ingest", record.key, outcome.result.folder, config=record.config, metrics=record.metrics)
    assert INGEST.blocks is not None
    page = INGEST.blocks({"ingest": view})
    assert any(isinstance(block, Note) and said in str(block) for block in page)


def test_a_share_that_we_choose_uses_no_copy_twice(tmp_path: Path) -> None:
    root = two_classes(tmp_path / "v")
    for number in range(3):
        shutil.copyfile(root / "a" / "1.mp4", root / "a" / f"copy{number}.mp4")
    verdicts = ingest(tmp_path / "w", root).result.record.metrics["verdicts"]
    assert verdicts == {"ok": 4, "duplicate": 3}
