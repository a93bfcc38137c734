"""What a user sees while something runs: units done, rate, time to go."""

import time
from io import StringIO

import pytest
from rich.console import Console

from flows import progress
from flows.progress import ConsoleProgress


def test_a_log_file_gets_a_line_with_rate_and_time_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    out = StringIO()
    shown = ConsoleProgress(Console(file=out, width=200))
    shown.start("Optical flow (dis)", 100, "fields")
    for _ in range(4):
        clock[0] += 5
        shown.advance(10)
    assert out.getvalue().strip() == "Optical flow (dis): 40/100 fields, 2.0/s, 0:30 to go"
    shown.advance(1, bad=3)
    assert out.getvalue().count("\n") == 1  # no more than a line every quarter of a minute
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


def test_names_in_what_is_said_reach_no_terminal_raw() -> None:
    out = StringIO()
    shown = ConsoleProgress(Console(file=out, width=80))
    shown.say("v[/b]ideo \x1b]0;title\x07 [red].mp4 :smile:")
    assert out.getvalue() == "  v[/b]ideo \\x1b]0;title\\x07 [red].mp4 :smile:\n"
