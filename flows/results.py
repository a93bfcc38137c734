"""The tables at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from mscl.stages import Outcome

_VARIANTS = {
    "trained": "trained",
    "untrained": "untrained",
    "trained_frozen": "trained, frozen frames (control)",
    "untrained_frozen": "untrained, frozen frames",
    "chance": "chance",
}


def print_outcome(console: Console, outcome: Outcome) -> None:
    """One line when a stage is done."""
    record = outcome.result.record
    how = "[dim]reused[/dim]" if outcome.reused else f"{outcome.seconds:6.1f} s"
    console.print(f"{record.stage:<9} {record.key}  {how}", highlight=False)


def print_results(console: Console, outcomes: Mapping[str, Outcome], *, seconds: float) -> None:
    """Stages, scores beside their controls, and where to look."""
    stages = Table("stage", "key", "", "MB", "what came out", box=None, title_justify="left")
    for name, outcome in outcomes.items():
        record = outcome.result.record
        how = "reused" if outcome.reused else f"{outcome.seconds:.1f} s"
        stages.add_row(name, record.key, how, f"{record.size / 1e6:.1f}", _headline(record.metrics))
    console.print(stages)
    if all(outcome.reused for outcome in outcomes.values()):
        console.print("Nothing has changed: every stage was reused.")
    probe, retrieve = (outcomes[name].result.record.metrics for name in ("probe", "retrieve"))
    if "trained" in probe and "trained" in retrieve:
        console.print(_scores(probe, retrieve))
    console.print(f"{seconds:.1f} s in all", highlight=False)
    console.print(f"Report       {outcomes['report'].result.folder / 'report.html'}", highlight=False, soft_wrap=True)


def _scores(probe: Mapping[str, Any], retrieve: Mapping[str, Any]) -> Table:
    columns = ("encoder", "retrieval R@1 %", "linear top-1 %")
    table = Table(*columns, title="Test split, 95 % intervals", title_justify="left")
    for variant, label in _VARIANTS.items():
        if variant in probe and variant in retrieve:
            table.add_row(label, _percent(retrieve[variant], "R@1"), _percent(probe[variant], "top1"))
    return table


def _percent(metrics: Mapping[str, Any], name: str) -> str:
    text = f"{100 * metrics[name]:.1f}"
    interval = metrics.get(f"{name}_interval")
    return f"{text}  ({100 * interval[0]:.0f}-{100 * interval[1]:.0f})" if interval else text


def _headline(metrics: Mapping[str, Any]) -> str:
    """The plain numbers and words among a stage's metrics; nested ones have their own table."""
    shown = []
    for name, value in metrics.items():
        if isinstance(value, float):
            shown.append(f"{name} {value:.4g}")
        elif isinstance(value, int | str):
            shown.append(f"{name} {value}")
    return "  ".join(shown)[:90]
