"""A short seeded part of the storms, and the damage that has a name: truncated, empty, missing, full disk."""

import errno
import importlib.util
import io
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from storage.commits import CommitLog
from storage.errors import DamagedError, StorageError, UnreadableError
from storage.flow_store import FlowReader
from storage.frame_store import FrameReader
from storage.verify import Damage, damaged_shards, take_back, verify_extract


def _storm() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "faults" / "storage_storm.py"
    spec = importlib.util.spec_from_file_location("storage_storm", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["storage_storm"] = module
    spec.loader.exec_module(module)
    return module


storm = _storm()


@pytest.fixture
def result(tmp_path: Path) -> Path:
    storm.write_result(tmp_path / "result")
    return tmp_path / "result"


def repaired(folder: Path, found: list[Damage]) -> bool:
    take_back(folder, found)
    storm.write_result(folder)
    return verify_extract(folder) == []


def test_sound_result_has_no_damage_and_few_files(result: Path) -> None:
    assert verify_extract(result) == []
    ticks: list[None] = []
    assert verify_extract(result, depth="digests", advance=lambda: ticks.append(None)) == []
    assert len(ticks) == 4
    shard_files = [*result.glob("flow.zarr/flow/c.*"), *result.glob("frames/*.jpegs")]
    assert len(shard_files) == 2 * 4  # at 32 segments a shard: one file per 16 segments


def test_no_flipped_bit_is_silent(result: Path) -> None:
    flips, by_readers = storm.flip_storm(result, count=200, seed=1, say=lambda _: None)
    assert flips == 200 and by_readers > 50


def test_killed_writers_resume_to_the_same_bytes(tmp_path: Path) -> None:
    assert storm.kill_storm(tmp_path, count=3, seed=2, say=lambda _: None) > 0


@pytest.mark.parametrize("kind", ["truncated", "short by one", "empty", "missing"])
@pytest.mark.parametrize("file", ["flow.zarr/flow/c.1.0.0.0.0", "frames/00000001.jpegs"])
def test_damaged_shard_is_an_error_on_read_named_by_verify_and_mended_alone(result: Path, file: str, kind: str) -> None:
    sound = storm.digests(result)
    path = result / file
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[: len(content) // 2], "short by one": content[:-1], "empty": b""}[kind])
    reader = FlowReader(result / "flow.zarr") if "flow" in file else FrameReader(result / "frames")
    with pytest.raises(DamagedError, match=path.name):
        reader.clip(3, [0])
    for depth in ("index", "digests"):
        assert damaged_shards(verify_extract(result, depth=depth)) == [1]
    found = verify_extract(result)
    assert damaged_shards(found) == [1]
    assert [(damage.file, damage.segments) for damage in found] == [(file, (3, 4, 5))]
    others = {path: path.stat().st_mtime_ns for path in result.rglob("*.0.0.0.0") if path.name != "c.1.0.0.0.0"}
    assert repaired(result, found)
    assert storm.digests(result) == sound
    assert {path: path.stat().st_mtime_ns for path in others} == others


@pytest.mark.parametrize("file", ["flow.zarr/flow/c.1.0.0.0.0", "frames/00000001.jpegs"])
def test_what_the_disk_cannot_read_is_damage_of_a_file_with_a_name(
    result: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    bad, pread, preadv = (result / file).stat().st_ino, os.pread, os.preadv

    def refuse(descriptor: int, offset: int) -> None:
        if os.fstat(descriptor).st_ino == bad and offset < 2000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def pread_or_refuse(descriptor: int, count: int, offset: int) -> bytes:
        refuse(descriptor, offset)
        return pread(descriptor, count, offset)

    def preadv_or_refuse(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        refuse(descriptor, offset)
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "pread", pread_or_refuse)
    monkeypatch.setattr(os, "preadv", preadv_or_refuse)
    reader = FlowReader(result / "flow.zarr") if "flow" in file else FrameReader(result / "frames")
    with pytest.raises(DamagedError, match=f"{Path(file).name}.*Input/output error"):
        reader.clip(3, [0])
    found = verify_extract(result)
    assert damaged_shards(found) == [1] and {damage.file for damage in found} == {file}


@pytest.mark.parametrize("file", ["flow.zarr/flow/c.1.0.0.0.0", "frames/00000001.jpegs", "commits.jsonl"])
def test_another_user_s_file_that_may_not_be_read_is_not_damaged(
    result: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    open_file, io_open = os.open, io.open

    def refuse(path: object, *arguments: Any, **options: Any) -> Any:
        if str(path) == str(result / file):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return (open_file if isinstance(arguments[0], int) else io_open)(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(io, "open", refuse)
    for depth in ("index", "chunks"):
        with pytest.raises(UnreadableError, match=f"{Path(file).name}: Permission denied; ask its owner"):
            verify_extract(result, depth=depth)


def test_verify_names_the_one_segment_that_is_hit(result: Path) -> None:
    path = result / "flow.zarr/flow/c.0.0.0.0.0"
    content = bytearray(path.read_bytes())
    content[-(16 * 3 * 5 + 4) - 20] ^= 1  # inside the last stored field, which is segment 2's
    path.write_bytes(content)
    (damage,) = verify_extract(result)
    assert (damage.file, damage.shard, damage.segments) == ("flow.zarr/flow/c.0.0.0.0.0", 0, (2,))
    assert "segments 2" in str(damage) and "of segment 2" in str(damage)
    assert repaired(result, [damage])


def test_torn_commit_log_costs_the_last_shard_only(result: Path) -> None:
    sound = storm.digests(result)
    log = CommitLog(result / "commits.jsonl")
    log.path.write_bytes(log.path.read_bytes()[:-10])
    found = verify_extract(result)
    assert damaged_shards(found) == [3]
    storm.write_result(result)
    assert storm.digests(result) == sound


@pytest.mark.parametrize("file", ["flow.zarr/zarr.json", "flow.zarr/flow/zarr.json", "frames/frames.json"])
def test_lost_metadata_is_mended_without_doing_a_shard_again(result: Path, file: str) -> None:
    sound = storm.digests(result)
    (result / file).unlink()
    found = verify_extract(result)
    assert found and damaged_shards(found) == []
    assert file in " ".join(map(str, found))
    assert repaired(result, found) and storm.digests(result) == sound


def test_full_disk_is_a_clear_error_and_resuming_completes(tmp_path: Path) -> None:
    storm.write_result(tmp_path / "sound")
    shard_nbytes = [path.stat().st_size for path in (tmp_path / "sound").rglob("*.jpegs")]
    (tmp_path / "full").mkdir()
    limited = storm.write_with_limit(tmp_path / "full", sorted(shard_nbytes)[-2])
    assert limited.returncode == 2, limited.stderr
    assert "cannot write" in limited.stderr and "free space" in limited.stderr and "Traceback" not in limited.stderr
    assert not list((tmp_path / "full").rglob(".staged-*"))
    storm.write_result(tmp_path / "full")
    assert storm.digests(tmp_path / "full") == storm.digests(tmp_path / "sound")


def test_full_disk_leaves_the_log_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CommitLog(tmp_path / "log")
    log.append(0, {"a": "b"})
    before = log.path.read_bytes()
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:7], offset))
    with pytest.raises(StorageError, match="7 of .* bytes written"):
        log.append(1, {"a": "c"})
    assert log.path.read_bytes() == before
