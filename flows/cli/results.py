"""What a run prints when a stage is done, and in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from flows.printing import print_blocks, print_line, print_table
from mscl.pipeline import Outcome
from mscl.report.results import Results
from mscl.stage.view import Stages, plain_metrics, stage_view

_HEADLINE_LENGTH = 90
_FIRST = ("loss", "steps")
"""Metrics that must not be cut where there are more than fit."""


def print_outcome(console: Console, outcome: Outcome) -> None:
    """One line when a stage is done."""
    record = outcome.result.record
    how = "reused" if outcome.reused else f"{outcome.seconds:6.1f} s"
    print_line(console, f"{record.stage:<9} {record.key}  {how}", style="dim" if outcome.reused else "")


def print_scores(console: Console, stages: Stages) -> None:
    """Scores that these stages took, beside their controls, and what must be known of them."""
    results = Results.of(stages)
    print_blocks(console, [*results.tables(), *results.notes()])


def print_results(console: Console, outcomes: Mapping[str, Outcome], *, seconds: float) -> None:
    """Stages, scores beside their controls, and where to look."""
    rows = []
    for name, outcome in outcomes.items():
        record = outcome.result.record
        how = "reused" if outcome.reused else f"{outcome.seconds:.1f} s"
        rows.append((name, record.key, how, f"{record.size / 1e6:.1f}", _headline(record.metrics)))
    print_table(console, ("stage", "key", "", "MB", "what came out"), rows)
    if all(outcome.reused for outcome in outcomes.values()):
        print_line(console, "Nothing has changed: every stage was reused.")
    print_scores(console, {name: stage_view(outcome.result) for name, outcome in outcomes.items()})
    print_line(console, f"{seconds:.1f} s in all")
    print_line(console, f"Report       {outcomes['report'].result.folder / 'report.html'}")


def _headline(metrics: Mapping[str, Any]) -> str:
    """A stage's plain metrics on one line, as many as fit."""
    shown = [f"{name} {text}" for name, text in sorted(plain_metrics(metrics), key=lambda pair: pair[0] not in _FIRST)]
    while len(text := "  ".join(shown)) > _HEADLINE_LENGTH:
        shown.pop()
    return text
