"""What a user sees while something runs: units done, rate, time to go."""

import logging
import time
from io import StringIO
from pathlib import Path
from unittest.mock import MagicMock, Mock

import pytest
from rich.console import Console

from flows import pipeline, progress, stage_tasks
from flows.progress import ArtifactProgress, ConsoleProgress, LogProgress
from mscl.config import load_config
from mscl.pipeline import BY_NAME
from storage.workspace import Workspace


def test_a_log_file_gets_a_line_with_rate_and_time_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    out = StringIO()
    shown = ConsoleProgress(Console(file=out, width=200))
    shown.start("Optical flow (dis)", 100, "fields")
    for _ in range(4):
        clock[0] += 5
        shown.advance(10)
    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert lines == ["Optical flow (dis): 100 fields", "Optical flow (dis): 40/100 fields, 2.0/s, 0:30 to go"]
    shown.advance(1, bad=3)
    assert out.getvalue().count("\n") == 2  # no more than a line every quarter of a minute
    clock[0] += 16
    shown.advance(1)
    assert "42/100 fields" in out.getvalue() and "bad 3" in out.getvalue()
    shown.done()


def in_a_terminal(width: int) -> tuple[ConsoleProgress, StringIO]:
    out = StringIO()
    return ConsoleProgress(Console(file=out, width=width, force_terminal=True, color_system=None)), out


def test_a_terminal_gets_a_live_bar_with_rate_and_time_to_go() -> None:
    shown, out = in_a_terminal(150)
    shown.start("Optical flow (dis)", 1000, "fields")
    for _ in range(8):
        time.sleep(0.15)
        shown.advance(25)
    time.sleep(0.3)
    shown.done()
    text = out.getvalue()
    assert "Optical flow (dis)" in text and "/1000" in text
    assert "fields/s" in text and " < 0:0" in text


def test_a_bar_stays_one_line_in_a_narrow_terminal() -> None:
    """What it says beside the numbers is cut; a line that breaks would flicker."""
    shown, out = in_a_terminal(80)
    shown.start("Pre-training", 400, "steps")
    for step in range(6):
        time.sleep(0.12)
        shown.advance(25, loss=7.1234, instance=3.25, motion=2.125, rotation=1.0625, rate=0.001, step=step)
    time.sleep(0.2)
    text = out.getvalue()
    shown.done()
    assert "150/400" in text and "steps/s" in text and "…" in text
    assert "\x1b[1A" not in text  # up a line: what Rich does to redraw more than one


def test_what_prefect_is_told_after_a_stage_has_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing a stage's report and telling Prefect took ten seconds of silence."""
    shown, out = in_a_terminal(80)
    monkeypatch.setattr(stage_tasks, "ConsoleProgress", lambda: shown)
    monkeypatch.setattr(stage_tasks, "get_run_logger", lambda: logging.getLogger("a run"))
    monkeypatch.setattr(stage_tasks, "execute", Mock())
    for name in ("spread_for", "how", "_tell_what_came_out", "publish_stage"):
        monkeypatch.setattr(stage_tasks, name, Mock(return_value=""))
    for name in ("check_pools", "submit", "workspace_slot"):
        monkeypatch.setattr(pipeline, name, MagicMock())
    with pipeline._working(Mock(), load_config("demo"), preset="demo"):
        stage_tasks._execute(BY_NAME["extract"], Workspace(tmp_path), Mock(), {}, False, "demo")
        assert "\x1b[?25h" not in out.getvalue()
    assert "Telling Prefect" in out.getvalue() and "\x1b[?25h" in out.getvalue()


def test_names_in_what_is_said_reach_no_terminal_raw() -> None:
    out = StringIO()
    shown = ConsoleProgress(Console(file=out, width=80))
    shown.say("v[/b]ideo \x1b]0;title\x07 [red].mp4 :smile:")
    assert out.getvalue() == "  v[/b]ideo \\x1b]0;title\\x07 [red].mp4 :smile:\n"


def test_a_run_s_log_gets_a_line_every_few_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    logger = logging.getLogger("a run")
    said: list[str] = []
    monkeypatch.setattr(logger, "info", said.append)
    shown = LogProgress(logger)
    shown.start("Optical flow (dis)", 1000, "fields")
    for _ in range(40):
        clock[0] += 10
        shown.advance(10, bad=1)
    shown.say("a word")
    assert said == [
        "Optical flow (dis): 1000 fields",
        "Optical flow (dis): 190/1000 fields, 1.0/s, 13:30 to go bad 1",
        "Optical flow (dis): 380/1000 fields, 1.0/s, 10:20 to go bad 1",
        "a word",
    ]


def test_a_progress_artifact_ends_at_all_or_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    told: list[tuple[float, str]] = []
    shown = ArtifactProgress("extract")
    monkeypatch.setattr(shown, "_create", lambda percent, description: told.append((percent, description)))
    monkeypatch.setattr(shown, "_update", lambda percent, description: told.append((percent, description)))
    shown.start("Checking", 4, "shards")
    shown.advance(4)
    shown.done()
    assert told == []  # within seconds
    for end in (shown.done, lambda: shown.fail("DataError: no disk\nmore")):
        shown.start("Optical flow", 10, "fields")
        clock[0] += 6
        shown.advance(4)  # six more were there already
        end()
    assert told == [
        (40.0, "Optical flow (fields)"), (100.0, "Optical flow (fields)"),
        (40.0, "Optical flow (fields)"), (40.0, "Optical flow (fields): DataError: no disk"),
    ]  # fmt: skip
