"""Rows of a training's log become progress, though lines are cut, files replaced, bytes damaged."""

import json
from pathlib import Path
from typing import Any

from mscl.training.metrics import read_metrics
from mscl.training.progress import MetricsProgress


class Recorder:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def start(self, description: str, total: int | None, unit: str) -> None:
        self.calls.append((description, total, unit))

    def advance(self, n: int = 1, **info: float | str) -> None:
        self.calls.append((n, info))

    def say(self, message: str) -> None:
        self.calls.append(message)

    def done(self) -> None:
        self.calls.append("done")


def test_rows_become_progress(tmp_path: Path) -> None:
    path, recorder = tmp_path / "metrics.jsonl", Recorder()
    follower = MetricsProgress(path, recorder, title="Pre-training", shown=("loss",))
    follower.look()
    rows = [json.dumps({"step": step, "total_steps": 30, "loss": 2.5}) for step in (1, 10)]
    path.write_text(rows[0] + "\n" + rows[1][:9])
    follower.look()
    with path.open("a") as file:
        file.write(rows[1][9:] + "\n")
    follower.look()
    follower.close()
    assert recorder.calls == [("Pre-training", 30, "steps"), (1, {"loss": 2.5}), (9, {"loss": 2.5}), "done"]


def test_a_resumed_run_replaces_the_file_and_progress_goes_on(tmp_path: Path) -> None:
    path, recorder = tmp_path / "metrics.jsonl", Recorder()
    follower = MetricsProgress(path, recorder, title="Pre-training", shown=("loss",))
    rows = {step: json.dumps({"step": step, "total_steps": 30, "loss": 2.5}) + "\n" for step in (10, 20, 25, 30)}
    path.write_text(rows[10] + rows[20])
    follower.look()
    (tmp_path / "new").write_text(rows[10])
    (tmp_path / "new").replace(path)
    follower.look()
    with path.open("a") as file:
        file.write(rows[20] + rows[25] + rows[30])
    follower.look()
    follower.close()
    assert [call[0] for call in recorder.calls[1:-1]] == [10, 10, 5, 5]


def test_a_damaged_line_is_no_progress_and_no_end(tmp_path: Path) -> None:
    path, recorder = tmp_path / "metrics.jsonl", Recorder()
    rows = [json.dumps({"step": step, "total_steps": 30, "loss": 2.5}).encode() for step in (1, 10, 20)]
    path.write_bytes(rows[0] + b"\n\xff" + rows[1] + b"\n[]\n" + rows[2] + b"\n")
    progress = MetricsProgress(path, recorder, title="Fine-tuning", shown=("loss",))
    progress.look()
    progress.close()
    assert [call[0] for call in recorder.calls[1:-1]] == [1, 19]


def test_rows_that_damage_made_unreadable_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = {"step": 1, "seconds": 2.5, "loss": 3.0}
    bad = [
        b"\xff",
        b"{",
        b"[1]",
        b'{"step": "1"}',
        b'{"step": 2, "seconds": "x"}',
        b"9" * 5000,
        b'{"step": ' + b"[" * 9999,
    ]
    path.write_bytes(b"\n".join([*bad, json.dumps(good).encode(), b'{"step": 3, "sec']))
    assert read_metrics(path) == [good]
