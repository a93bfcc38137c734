"""JSON lines: whatever a killed writer or a bad byte left, the other lines are read."""

from pathlib import Path

from storage.json_lines import JsonLinesFollower, append_json_line, read_json_lines


def test_lines_that_are_no_objects_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    assert read_json_lines(path) == []
    path.write_bytes(b'{"epoch": 1}\n\xff{}\n[1]\n{"n": ' + b"9" * 5000 + b'}\n\n{"epoch": 2}\n{"epo')
    assert read_json_lines(path) == [{"epoch": 1}, {"epoch": 2}]


def test_a_follower_reads_every_line_once_across_a_replacement(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    follower = JsonLinesFollower(path)
    assert list(follower.new_rows()) == []
    append_json_line(path, {"step": 1})
    with path.open("ab") as file:
        file.write(b'{"st')
    assert list(follower.new_rows()) == [{"step": 1}]
    with path.open("ab") as file:
        file.write(b'ep": 2}\n')
    assert list(follower.new_rows()) == [{"step": 2}]
    (tmp_path / "new").write_text('{"step": 3}\n')
    (tmp_path / "new").replace(path)
    assert list(follower.new_rows()) == [{"step": 3}]
    follower.close()
