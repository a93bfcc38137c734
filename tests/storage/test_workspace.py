"""Records, keys and locks of a workspace; what is removed has a file of its own."""

import errno
import fcntl
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import LockedError, StorageError
from storage.garbage import garbage
from storage.record import read_record, result_key
from storage.result_folder import Result, clear_damaged, is_damaged, mark_damaged
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


def test_a_copy_without_hidden_files_is_told_what_it_lacks(tmp_path: Path) -> None:
    make(Workspace(tmp_path), "ingest")
    (tmp_path / ".mscl-workspace").unlink()
    with pytest.raises(StorageError, match=r"holds results and no \.mscl-workspace.* `cp -a OLD/\. NEW`"):
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


def test_who_only_asks_for_a_moment_whether_a_result_is_claimed_is_no_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, flock, asked = Workspace(tmp_path), fcntl.flock, iter([True])

    def held_for_a_moment(descriptor: int, kind: int) -> None:
        if next(asked, False):
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        flock(descriptor, kind)

    monkeypatch.setattr("fcntl.flock", held_for_a_moment)
    with workspace.claim("extract", "k"):  # as gc looks at every result
        pass


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
