"""What goes and what stays where results are removed: lineage, uses, and what is no result at all."""

import errno
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage.errors import LockedError, StorageError
from storage.garbage import bytes_on_disk, dependents, garbage, in_use, remove
from storage.result_folder import Result, clear, whole
from storage.workspace import Workspace
from tests.storage.test_workspace import make


def test_what_others_remove_meanwhile_ends_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    for text in ("one", "two", "three"):
        make(workspace, "ingest", text=text)
    read: list[Path] = []

    def read_while_others_go(folder: Path) -> Result | None:
        for other in read:
            clear(other)
        read.append(folder)
        return whole(folder)

    monkeypatch.setattr("storage.workspace.whole_if_readable", read_while_others_go)
    assert {result.folder for result in workspace.results()} == set(read)
    left, gone = read[-1] / "data.txt", read[0] / "data.txt"
    monkeypatch.setattr(Path, "rglob", lambda _folder, _pattern: iter([left, gone]))
    monkeypatch.setattr(Path, "is_file", lambda _path: True)
    assert bytes_on_disk(tmp_path) == left.stat().st_size


def test_lineage_and_garbage(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    ingest = make(workspace, "ingest")
    old = make(workspace, "extract", inputs={"ingest": ingest.key}, text="old")
    new = make(workspace, "extract", inputs={"ingest": ingest.key}, text="new")
    motion = make(workspace, "motion", inputs={"extract": new.key})
    assert [r.record.stage for r in workspace.lineage(motion)] == ["ingest", "extract", "motion"]
    assert garbage(workspace) == [old.folder]
    workspace.touch(old)  # used again, and `new` is still what motion was made of
    assert workspace.latest("extract") == old
    assert garbage(workspace) == []
    make(workspace, "motion", inputs={"extract": old.key})
    assert {folder.name for folder in garbage(workspace)} == {motion.key, new.key}
    assert garbage(workspace, keep=["motion"]) == []
    freed, stay = remove(workspace, garbage(workspace))
    assert freed > 0 and not stay
    assert not new.folder.exists() and old.folder.exists()


def test_of_two_experiments_both_are_kept_with_all_that_they_were_made_of(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    made = []
    for text in "ab":
        ingest = make(workspace, "ingest", text=text)
        extract = make(workspace, "extract", inputs={"ingest": ingest.key}, text=text)
        made += [ingest, extract, make(workspace, "pretrain", inputs={"extract": extract.key}, text=text)]
    stray = make(workspace, "extract", inputs={"ingest": made[0].key}, text="never trained on")
    workspace.touch(made[4])
    assert garbage(workspace, keep=["pretrain"]) == [stray.folder]
    assert set(garbage(workspace)) == {stray.folder, *(result.folder for result in made[:3])}
    first = dependents(workspace, made[0].folder)
    assert first[-1] == made[0].folder
    assert set(first) == {stray.folder, *(result.folder for result in made[:3])}


def test_what_is_begun_keeps_what_it_reads(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    old = make(workspace, "extract", text="old")
    with workspace.claim("motion", "m" * 16) as folder:
        assert not workspace.begin("motion", folder.name, config={}, inputs={"extract": old.key})
        new = make(workspace, "extract", text="new")
        assert garbage(workspace) == []
        assert garbage(workspace, unfinished=True) == []  # it is being computed now
        assert dependents(workspace, old.folder) == [folder, old.folder]
        assert remove(workspace, [folder]) == (0, [folder])
    assert garbage(workspace) == []
    assert set(garbage(workspace, unfinished=True)) == {folder, old.folder}
    assert new.folder not in garbage(workspace, unfinished=True)


def test_what_is_being_computed_keeps_all_that_it_was_made_of(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    ingest = make(workspace, "ingest")
    extract = make(workspace, "extract", inputs={"ingest": ingest.key})
    probe = make(workspace, "probe", inputs={"extract": extract.key})
    everything = [probe.folder, extract.folder, ingest.folder]
    with workspace.claim("pretrain", "p" * 16) as folder:
        # Just begun: nobody knows yet what it will read.
        assert remove(workspace, everything) == (0, everything)
        workspace.begin("pretrain", folder.name, config={"a": 1}, inputs={"extract": extract.key})
        assert in_use(workspace, everything) == {extract.folder: folder, ingest.folder: folder}
        freed, stay = remove(workspace, everything)
        assert freed > 0 and stay == [extract.folder, ingest.folder]
        assert not probe.folder.exists() and extract.folder.exists() and ingest.folder.exists()
    assert in_use(workspace, everything) == {}
    assert remove(workspace, [folder, extract.folder, ingest.folder])[1] == []


def test_what_is_begun_on_a_result_while_others_are_removed_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    probe, extract = make(workspace, "probe"), make(workspace, "extract")
    with ExitStack() as another_process:

        def begin_motion(folder: Path) -> int:
            if folder == probe.folder:
                another_process.enter_context(workspace.claim("motion", "m" * 16))
                workspace.begin("motion", "m" * 16, config={}, inputs={"extract": extract.key})
            return bytes_on_disk(folder)

        monkeypatch.setattr("storage.garbage.bytes_on_disk", begin_motion)
        freed, stay = remove(workspace, [probe.folder, extract.folder])
        assert freed > 0 and stay == [extract.folder] and not probe.folder.exists()


def test_an_ablation_was_made_of_every_run_that_it_names(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    runs = [make(workspace, "retrieve", text=text) for text in "ab"]
    results = {f"mscl {seed}": {"retrieve": run.key} for seed, run in enumerate(runs)}
    with workspace.claim("ablate", "a" * 16) as ablation:
        workspace.commit(
            "ablate", ablation.name, version=1, config={"results": results}, inputs={"retrieve": runs[0].key},
            metrics={}, timings={},
        )  # fmt: skip
    make(workspace, "retrieve", text="later")
    assert garbage(workspace) == []
    for run in runs:
        assert dependents(workspace, run.folder) == [ablation, run.folder]


def test_what_is_no_result_is_none_of_ours(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    extract = make(workspace, "extract")
    figures = tmp_path / "paper" / "figures"
    figures.mkdir(parents=True)
    (figures / "drawing.svg").write_text("mine")
    assert workspace.folders() == [extract.folder] and workspace.unfinished() == []
    assert garbage(workspace, unfinished=True) == []
    with pytest.raises(StorageError, match="unknown"):
        workspace.locate("figures")


def test_what_a_program_has_open_on_nfs_stays_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, unlink = Workspace(tmp_path), os.unlink
    open_one, other = make(workspace, "pretrain"), make(workspace, "pretrain", text="other")
    (open_one.folder / "tensorboard").mkdir()
    (open_one.folder / "tensorboard" / ".nfs0001").touch()

    def busy(path: str, **options: int) -> None:
        if str(path).endswith(".nfs0001"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", busy)
    freed, stay = remove(workspace, [open_one.folder, other.folder])
    assert stay == [open_one.folder] and freed > 0 and not other.folder.exists()
    with pytest.raises(LockedError, match=r"half removed, for another program has .*nfs0001 open; end it"):
        workspace.discard("pretrain", open_one.key)
    monkeypatch.undo()
    assert garbage(workspace) == [open_one.folder] and not remove(workspace, [open_one.folder])[1]


def test_a_copy_of_a_result_beside_it_is_no_second_result_of_its_key(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    result = make(workspace, "pretrain")
    shutil.copytree(result.folder, result.folder.with_name(f"{result.key}.before"))
    assert workspace.results() == [result] and workspace.latest("pretrain") == result
    assert workspace.by_key(result.key) == result and workspace.locate(result.key) == result.folder
    assert workspace.unfinished() == [] and dependents(workspace, result.folder) == [result.folder]


def test_a_result_that_was_moved_and_linked_is_removed_as_any_other(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    result = make(workspace, "extract")
    elsewhere = tmp_path / "large disk"
    result.folder.rename(elsewhere)
    result.folder.symlink_to(elsewhere)
    assert workspace.find("extract", result.key) == result
    freed, stay = remove(workspace, [result.folder])
    assert freed > len("content") and not stay
    assert not result.folder.is_symlink() and not any(elsewhere.iterdir())
