"""Records, keys, locks, lineage and garbage of a workspace."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import LockedError, StorageError
from storage.garbage import bytes_on_disk, dependents, garbage, in_use, remove
from storage.record import read_record, result_key
from storage.result_folder import Result, clear, clear_damaged, is_damaged, mark_damaged, whole
from storage.verify import refuse_changed, verify_result
from storage.workspace import Workspace


def make(workspace: Workspace, stage: str, *, inputs: dict[str, str] | None = None, text: str = "content") -> Result:
    key = result_key(stage, 1, {"text": text}, inputs or {})
    with workspace.claim(stage, key) as folder:
        (folder / "data.txt").write_text(text)
        return workspace.commit(
            stage, key, version=1, config={"text": text}, inputs=inputs or {}, metrics={}, timings={"seconds": 1.0}
        )


def test_a_result_is_found_only_while_its_record_and_files_are_whole(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    result = make(workspace, "ingest")
    assert workspace.find("ingest", result.key) == result
    (result.folder / "data.txt").write_text("longer than before")
    assert workspace.find("ingest", result.key) is None
    assert workspace.unfinished() == [result.folder]


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


def test_damage_names_the_file_whose_bytes_changed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    result = make(workspace, "ingest")
    assert verify_result(result.folder, result.record) == []
    (result.folder / "data.txt").write_text("CONTENT")  # same size
    [damage] = verify_result(result.folder, result.record)
    assert damage.file == "data.txt" and "digest" in damage.what


def test_a_torn_record_is_no_record(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    result = make(workspace, "ingest")
    path = result.folder / "record.json"
    path.write_bytes(path.read_bytes()[:-40])
    assert read_record(result.folder) is None
    assert workspace.find("ingest", result.key) is None


@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans(), max_size=5),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
def test_a_key_depends_on_content_not_on_order(config: dict[str, object], inputs: dict[str, str]) -> None:
    key = result_key("extract", 1, config, inputs)
    assert key == result_key("extract", 1, dict(reversed(config.items())), dict(reversed(inputs.items())))
    assert key != result_key("extract", 2, config, inputs)
    assert key != result_key("motion", 1, config, inputs)
    assert key != result_key("extract", 1, {**config, "other": 0.5}, inputs)


def test_a_key_refuses_nan() -> None:
    with pytest.raises(ValueError):
        result_key("extract", 1, {"x": float("nan")}, {})


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


def test_the_latest_is_the_one_used_last_though_the_clock_was_set_back(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    old, new = make(workspace, "probe"), make(workspace, "probe", text="another")
    tomorrow = time.time() + 86400
    os.utime(old.folder / "record.json", (tomorrow, tomorrow))
    for used in (new, old, new):
        workspace.touch(used)
        assert workspace.latest("probe") == used
    assert garbage(workspace) == [old.folder]


def test_a_result_that_was_removed_meanwhile_is_not_called_damaged(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    result = make(workspace, "ingest")
    refuse_changed(result)
    workspace.discard("ingest", result.key)
    result.folder.mkdir()  # another run makes it again
    said = f"ingest {result.key} in .* was removed, or is made again, .* same command"
    with pytest.raises(StorageError, match=said):
        refuse_changed(result)
    (result.folder / "data.txt").write_text("another")
    workspace.commit("ingest", result.key, version=1, config={}, inputs={}, metrics={}, timings={})
    with pytest.raises(StorageError, match=said):  # nothing is damaged: it is another
        refuse_changed(result)


def test_a_result_known_to_be_damaged_is_not_used_until_it_is_made_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    ingest = make(workspace, "ingest")
    result = make(workspace, "extract", inputs={"ingest": ingest.key})
    mark_damaged(result.folder, ["data.txt: a bit has flipped"])
    assert workspace.find("extract", result.key) is None
    assert is_damaged(result.folder) and workspace.locate(result.key[:6]) == result.folder
    with pytest.raises(StorageError, match=f"is damaged; `mscl verify {result.key} --workspace {tmp_path}`"):
        workspace.by_key(result.key)
    assert garbage(workspace) == []  # it can be mended, and needs what it was made of
    clear_damaged(result.folder)
    assert workspace.find("extract", result.key) == result
    mark_damaged(result.folder, [])
    for _ in "ab":  # also when the run that was to mend it is killed
        assert workspace.begin("extract", result.key, config={}, inputs={"ingest": ingest.key})
        assert read_record(result.folder) is None and garbage(workspace) == []
    again = make(workspace, "extract", inputs={"ingest": ingest.key})
    assert workspace.find("extract", result.key) == again and not is_damaged(result.folder)


def test_every_flipped_bit_of_a_record_is_seen(tmp_path: Path) -> None:
    result = make(Workspace(tmp_path), "ingest")
    path = result.folder / "record.json"
    sound = path.read_bytes()
    assert read_record(result.folder) == result.record
    for place in range(len(sound)):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        # ISO 8601 has two signs for a decimal point.
        unseen = read_record(result.folder) == result.record and bytes(damaged[place : place + 1]) == b","
        assert unseen or read_record(result.folder) is None, (place, damaged[max(0, place - 20) : place + 20])


def test_by_key_wants_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    result = make(workspace, "ingest")
    assert workspace.by_key(result.key[:6]) == result
    with pytest.raises(StorageError, match="unknown"):
        workspace.by_key("ffffffff")


def test_a_folder_whose_name_is_no_text_is_refused_before_any_work(tmp_path: Path) -> None:
    """Records, tables and stores hold paths as text: it would end in a traceback, late."""
    with pytest.raises(StorageError, match=r"workspace '.*w\\udcff' has a name that is not UTF-8; choose another"):
        Workspace(tmp_path / "w\udcff")


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(StorageError, match=r"holds other files"):
        Workspace(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])  # Lustre as it is mounted by default; NFSv3
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(descriptor: int, kind: int) -> None:
        raise OSError(number, os.strerror(number))

    workspace = Workspace(tmp_path)
    with workspace.claim("extract", "k"):
        pass
    monkeypatch.setattr("fcntl.flock", refuse)
    says = f"cannot lock {tmp_path}/.locks/extract-k: {os.strerror(number)}; its file system must have flock"
    with pytest.raises(StorageError, match=says), workspace.claim("extract", "k"):
        pass
    assert workspace.is_claimed("extract", "k")  # nobody knows: nothing of it may be removed


def test_nfs_which_locks_for_writing_only_knows_who_holds_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, flock = Workspace(tmp_path), fcntl.flock
    with workspace.claim("extract", "k"):
        pass

    def of_nfs(descriptor: int, kind: int) -> None:
        if kind & fcntl.LOCK_EX and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(descriptor, kind)

    monkeypatch.setattr("fcntl.flock", of_nfs)
    assert not workspace.is_claimed("extract", "k")
    with workspace.claim("extract", "k"):
        assert workspace.is_claimed("extract", "k")


def hold(root: Path, ready: "multiprocessing.synchronize.Event") -> None:
    with Workspace(root).claim("extract", "k"):
        ready.set()
        time.sleep(60)


def test_the_lock_excludes_and_dies_with_its_holder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=hold, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(300)
    workspace = Workspace(tmp_path)
    with pytest.raises(LockedError, match="being computed by another process"), workspace.claim("extract", "k"):
        pass
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    said: list[str] = []
    with workspace.claim("extract", "k", on_wait=said.append):
        pass
    holder.join(10)
