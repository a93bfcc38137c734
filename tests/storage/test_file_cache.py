"""Fetched files up to a size, shared by processes that may die."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.file_cache import FileCache
from storage.locks import open_lock

SIZE = 1000


def cache_of(folder: Path, *, files: float) -> FileCache:
    return FileCache(folder, int(files * SIZE), setting="runtime.video_cache")


def content(name: str) -> bytes:
    return name.encode() * (SIZE // len(name))


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.name != ".bytes")


def test_what_was_used_longest_ago_goes_first_and_what_is_in_use_stays(tmp_path: Path) -> None:
    cache, fetched = cache_of(tmp_path / "c", files=3.4), []

    def read(name: str) -> None:
        def fetch(to: Path) -> None:
            fetched.append(name)
            to.write_bytes(content(name))

        with cache.hold(name, SIZE, fetch) as path:
            assert path.read_bytes() == content(name)

    with cache.hold("held", SIZE, lambda to: Path(to).write_bytes(content("held")) and None) as held:
        for age, name in enumerate(("aa", "bb")):
            read(name)
            os.utime(cache.folder / name, (age, age))
        read("aa")  # used again, so that the other one is older
        read("cc")
        assert held.read_bytes() == content("held")
        os.utime(cache.folder / "cc", (0, 0))
        read("aa")
        read("bb")
    assert fetched == ["aa", "bb", "cc", "bb"] and bytes_in(cache.folder) <= 3.4 * SIZE
    with cache_of(tmp_path / "c", files=1.4).hold("bb", SIZE, lambda _: None):
        pass  # another run with a smaller cache
    assert bytes_in(cache.folder) <= 1.4 * SIZE


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    cache = cache_of(tmp_path / "c", files=3)

    def breaks_off(to: Path) -> None:
        to.write_bytes(b"half")
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError), cache.hold("aa", SIZE, breaks_off):
        pass
    with (
        pytest.raises(OSError, match="4 bytes came, and 1000"),
        cache.hold("aa", SIZE, lambda to: Path(to).write_bytes(b"half") and None),
    ):
        pass
    assert {path.name for path in cache.folder.iterdir()} == {".bytes"}
    (cache.folder / "aa").write_bytes(b"lost a part with the power")
    with cache.hold("aa", SIZE, lambda to: Path(to).write_bytes(content("aa")) and None) as path:
        assert path.read_bytes() == content("aa")


def test_of_several_who_want_a_file_one_fetches_it(tmp_path: Path) -> None:
    cache, fetched, began = cache_of(tmp_path / "c", files=3), [], threading.Event()

    def fetch(to: Path) -> None:
        fetched.append(to)
        began.set()
        to.write_bytes(content("aa"))

    def read() -> None:
        with cache.hold("aa", SIZE, fetch) as path:
            assert path.read_bytes() == content("aa")

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert began.is_set() and len(fetched) == 1


def test_what_another_has_brought_meanwhile_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_of(tmp_path / "c", files=3)

    def too_late(path: Path) -> int:
        path.with_name("aa").write_bytes(content("aa"))
        return open_lock(path)

    monkeypatch.setattr("storage.file_cache.open_lock", too_late)

    def fetch(to: Path) -> None:
        raise AssertionError("fetched again")

    with cache.hold("aa", SIZE, fetch) as path:
        assert path.read_bytes() == content("aa")
    assert not list((tmp_path / "c").glob(".coming*"))


SHARER = """
import sys
from pathlib import Path
from storage.file_cache import FileCache
from storage.locks import open_lock
folder, first, hangs = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
cache = FileCache(folder, 4500, setting="x")
def fetch(name):
    def write(to):
        to.write_bytes(name.encode() * 250)
        if name == hangs:
            print("hangs", flush=True)
            sys.stdin.read()
            sys.exit()
        to.write_bytes(name.encode() * 500)
    return write
for round in range(60):
    name = "%02d" % ((first + round * 7) % 12)
    with cache.hold(name, 1000, fetch(name)) as path:
        assert path.read_bytes() == name.encode() * 500
"""


def test_processes_share_it_and_one_that_is_killed_holds_nobody_up(tmp_path: Path) -> None:
    def start(first: int, hangs: str = "-") -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", SHARER, str(tmp_path), str(first), hangs]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    killed = start(3, "03")
    assert killed.stdout is not None and killed.stdout.readline() == "hangs\n"
    others = [start(0), start(5)]  # both come to want what the first is fetching
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    for other in others:
        other.communicate()
        assert other.returncode == 0
    left = [path for path in tmp_path.iterdir() if path.name != ".bytes"]
    assert sum(path.stat().st_size for path in left) <= 4500
    assert int((tmp_path / ".bytes").read_bytes()) >= sum(path.stat().st_size for path in left)
    assert all(path.read_bytes() == path.name.encode() * 500 for path in left)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match="cannot write .*; name another folder as runtime.video_cache"),
        cache_of(tmp_path / "file" / "c", files=3).hold("aa", SIZE, lambda _: None),
    ):
        pass
