"""The commit log: durable lines, a torn tail ignored, flips seen."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.commits import FINAL, CommitLog
from storage.errors import StorageError


def test_rows_come_back_and_the_last_one_counts(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "commits.jsonl")
    assert log.rows() == {} and log.damaged_lines == []
    log.append(1, {"a": "00"}, seconds=1.5)
    log.append(0, {"b": "01"})
    log.append(1, {"a": "02"}, seconds=2.5)
    log.append(FINAL, {"zarr.json": "03"})
    rows = CommitLog(log.path).rows()
    assert rows[1].files == {"a": "02"} and rows[1].info == {"seconds": 2.5}
    assert sorted(rows) == [FINAL, 0, 1]
    log.forget(1)
    assert sorted(log.rows()) == [FINAL, 0]
    log.append(1, {"a": "04"})
    assert log.rows()[1].files == {"a": "04"}


def test_compacted_log_does_not_tell_the_order_of_work(tmp_path: Path) -> None:
    digests = []
    for order in ([0, 1, 2], [2, 0, 1]):
        log = CommitLog(tmp_path / f"{order[0]}.jsonl")
        for shard in order:
            log.append(shard, {"f": str(shard)}, num_fields=shard)
        log.append(1, {"f": "1"}, num_fields=1)
        before = log.rows()
        digests.append(log.compact())
        assert log.rows() == before
    assert digests[0] == digests[1]


@settings(max_examples=40, deadline=None)
@given(keep=st.integers(0, 400))
def test_a_log_cut_anywhere_keeps_its_whole_lines_and_goes_on(
    keep: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = CommitLog(tmp_path_factory.mktemp("log") / "commits.jsonl")
    for shard in range(4):
        log.append(shard, {"f": "ab" * 16}, n=shard)
    content = log.path.read_bytes()[:keep]
    log.path.write_bytes(content)
    whole = content.count(b"\n")
    assert sorted(log.rows()) == list(range(whole))
    log.append(9, {"f": "cd"})
    assert sorted(log.rows()) == [*range(whole), 9] and log.damaged_lines == []


def test_every_flipped_bit_takes_out_its_line_only(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "commits.jsonl")
    for shard in range(3):
        log.append(shard, {"f": "ab"}, n=shard)
    intact = log.path.read_bytes()
    lines = intact.splitlines(keepends=True)
    first, second = len(lines[0]), len(lines[0]) + len(lines[1])
    for position in range(first, second):
        for bit in range(8):
            content = bytearray(intact)
            content[position] ^= 1 << bit
            log.path.write_bytes(content)
            assert 1 not in log.rows() and 0 in log.rows()
            assert log.damaged_lines


def test_info_must_be_plain(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="plain JSON"):
        CommitLog(tmp_path / "c").append(0, {}, path=tmp_path)
    with pytest.raises(StorageError, match="cannot write"):
        CommitLog(tmp_path / "absent" / "c").append(0, {})
