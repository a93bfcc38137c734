"""The tables at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from mscl.pipeline import Outcome
from mscl.score.protocol import spread_of
from mscl.stage.view import plain_metrics

_VARIANTS = {
    "trained": "trained",
    "untrained": "untrained",
    "trained_frozen": "trained, frozen frames (control)",
    "untrained_frozen": "untrained, frozen frames",
    "chance": "chance",
}
_HEADLINE_LENGTH = 90
_FIRST = ("loss", "steps")
"""Metrics that must not be cut where there are more than fit."""
_HEADS = {"linear": "linear", "knn": "k nearest"}


def print_outcome(console: Console, outcome: Outcome) -> None:
    """One line when a stage is done."""
    record = outcome.result.record
    how = "[dim]reused[/dim]" if outcome.reused else f"{outcome.seconds:6.1f} s"
    console.print(f"{record.stage:<9} {record.key}  {how}", highlight=False)


def print_scores(console: Console, outcome: Outcome) -> None:
    """Scores of a stage that was run alone, where it took some."""
    record = outcome.result.record
    for part in scores_of({record.stage: record.metrics}):
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))


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
    for part in scores_of({name: outcome.result.record.metrics for name, outcome in outcomes.items()}):
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    console.print(f"{seconds:.1f} s in all", highlight=False)
    console.print(f"Report       {outcomes['report'].result.folder / 'report.html'}", highlight=False, soft_wrap=True)


def scores_of(metrics: Mapping[str, Mapping[str, Any]]) -> list[Table | str]:
    """Tables of the scores that these stages took, and what must be known of them."""
    probe, retrieve, finetune = (metrics.get(name, {}) for name in ("probe", "retrieve", "finetune"))
    parts: list[Table | str] = []
    columns = []
    if "chance" in retrieve:
        columns.append(("retrieval R@1 %", retrieve, "R@1"))
    if "chance" in probe:
        columns.append((f"{_HEADS.get(probe.get('head', 'linear'), '')} top-1 %", probe, "top1"))
    if columns:
        table = Table("encoder", *(title for title, _, _ in columns))
        given = str(metrics.get("pretrain", {}).get("given", ""))
        for variant, label in _VARIANTS.items():
            label = label.replace("trained", f"given: {given}", 1) if given and variant.startswith("trained") else label
            if all(variant in found for _, found, _ in columns):
                table.add_row(label, *(_percent(found[variant], score) for _, found, score in columns))
        parts += [_title(*((title, found["trained"]) for title, found, _ in columns)), table]
    if "chance" in finetune:
        titles = {"top1": "top-1 %", "top5": "top-5 %", "mean_class": "class mean %"}
        shown = [score for score in titles if score in finetune]  # top-5 says nothing of five classes or fewer
        table = Table("fine-tuned", *(titles[score] for score in shown), "test videos")
        runs = finetune.get("runs", [])
        rows = [("mean" if len(runs) > 1 else "all classes", finetune)]
        rows += [(f"split {run['split']}, seed {run['seed']}", run) for run in runs if len(runs) > 1]
        for label, found in rows:
            table.add_row(label, *(_percent(found, score) for score in shown), f"{found['num_test']:,}")
        chance = finetune["chance"]
        table.add_row("chance", *(_percent(chance, score) if score in chance else "" for score in shown), "")
        parts += [_title(("", finetune)), table]
    said: dict[str, list[str]] = {}
    for name, found in metrics.items():
        lines = [*found.get("notes", []), *found.get("warnings", [])]
        lines += [line for variant in _VARIANTS for line in found.get(variant, {}).get("warnings", [])]
        for line in lines if "chance" in found else ():
            said.setdefault(line, []).append(name)
    parts += [f"Note         {', '.join(dict.fromkeys(names))}: {line}" for line, names in said.items()]
    for name in ("retrieve", "probe", "finetune"):
        reason = str(metrics.get(name, {}).get("skipped", ""))
        if reason and reason != "finetune.enabled is false":
            parts.append(f"Skipped      {name}: {reason}")
    return parts


def _title(*columns: tuple[str, Mapping[str, Any]]) -> str:
    """What the columns, each with its title and its scores, are a mean of: said once where it is the same for all."""
    spreads = [spread_of(scores, "top1" if "top1" in scores else "R@1") for _, scores in columns]
    if len(columns) > 1 and any(spreads):
        named = zip(columns, spreads, strict=True)
        said = [f"{title.split(' %')[0]} {spread or 'on one split'}" for (title, _), spread in named]
        return f"Test videos, 95 % intervals; {'; '.join(said)}"
    return f"Test videos, {spreads[0] + ', ' if spreads[0] else ''}95 % intervals"


def _percent(metrics: Mapping[str, Any], name: str) -> str:
    text = f"{100 * metrics[name]:.1f}"
    interval = metrics.get(f"{name}_interval")
    return f"{text}  ({100 * interval[0]:.0f}-{100 * interval[1]:.0f})" if interval else text


def _headline(metrics: Mapping[str, Any]) -> str:
    """A stage's plain metrics on one line, as many as fit."""
    shown = [f"{name} {text}" for name, text in sorted(plain_metrics(metrics), key=lambda pair: pair[0] not in _FIRST)]
    while len(text := "  ".join(shown)) > _HEADLINE_LENGTH:
        shown.pop()
    return text
