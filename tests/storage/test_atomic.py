"""Files appear whole or not at all."""

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.atomic import cannot_write, digest_file, publish, remove_staged, staged_path, write_atomic
from storage.errors import DamagedError, StorageError


def test_content_digest_and_replacement(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write_atomic(path, b"one") == hashlib.sha256(b"one").hexdigest() == digest_file(path)
    assert write_atomic(path, iter([b"tw", memoryview(b"o"), bytearray(b"!")])) == digest_file(path)
    assert path.read_bytes() == b"two!"
    assert os.listdir(tmp_path) == ["file"]


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def broken() -> Iterator[bytes]:
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, broken())
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_errors_name_the_file_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"absent/file: No such file .* run the same command again"):
        write_atomic(tmp_path / "absent" / "file", b"")
    with pytest.raises(DamagedError, match="cannot read .*absent"):
        digest_file(tmp_path / "absent")


def test_a_full_disk_says_what_is_free_and_what_is_needed(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    said = str(cannot_write(tmp_path / "file", full, needs_bytes=3_000_000))
    assert re.search(r"/file: No space left on device; it takes 3.0 MB and [\d,]+\.\d MB are free; free space or", said)
    said = str(cannot_write(tmp_path / "file", full))
    assert re.search(r"/file: No space left on device; [\d,]+\.\d MB are free; free space or", said)
    assert "are free" not in str(cannot_write(tmp_path / "gone" / "file", full))
    read_only = str(cannot_write(tmp_path / "file", OSError(errno.EROFS, "Read-only file system"), needs_bytes=3))
    assert "MB" not in read_only and "choose a place where you may" in read_only


def test_a_file_system_that_also_refuses_to_remove_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: bool) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))  # what a read-only disk says, file or no file

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match=r"cannot write .*/file"):
        write_atomic(tmp_path / "absent" / "file", b"")


def test_folders_are_published_too_and_staged_files_go(tmp_path: Path) -> None:
    staged = staged_path(tmp_path / "result")
    staged.mkdir()
    (staged / "a").write_bytes(b"a")
    publish(staged, tmp_path / "result")
    assert (tmp_path / "result" / "a").read_bytes() == b"a"
    staged_path(tmp_path / "result" / "b").write_bytes(b"half")
    assert remove_staged(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "result"]
