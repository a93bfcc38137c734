"""What a run prints when a stage is done, and in the end."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from flows.printing import print_blocks, print_line, print_table
from mscl.config import ExperimentConfig
from mscl.config.commented_yaml import value_text
from mscl.display.amounts import byte_size, duration
from mscl.display.blocks import Note
from mscl.ingest.left_out import left_out_of
from mscl.pipeline import BY_NAME, Outcome
from mscl.report.results import Results
from mscl.report.stage import PAGE_NAME
from mscl.stage.view import Stages, plain_metrics, stage_view
from storage.record import Record
from storage.result_folder import Result
from storage.workspace import Workspace

_FILES_SHOWN = 40


def print_beginning(console: Console, preset: str, config: ExperimentConfig, workspace: Workspace) -> None:
    """What is run on what, and where its results go: said before anything is waited for."""
    print_line(console, f"{preset} on {config.data.root or 'no data.root'}, results in {workspace.root}")


def print_outcome(console: Console, outcome: Outcome) -> None:
    """One line when a stage is done."""
    record = outcome.result.record
    how = "reused" if outcome.reused else duration(outcome.seconds)
    text = f"{record.stage:<9} {how:>9}  {came_out(record)}"
    print_line(console, text, style="dim" if outcome.reused else "")


def print_scores(console: Console, stages: Stages) -> None:
    """Scores that these stages took, beside their controls, and what must be known of them."""
    results = Results.of(stages)
    print_blocks(console, [*results.tables(), *results.notes()])


def print_results(console: Console, outcomes: Mapping[str, Outcome], *, seconds: float) -> None:
    """Stages, scores beside their controls, and where to look."""
    rows = []
    for name, outcome in outcomes.items():
        record = outcome.result.record
        how = "reused" if outcome.reused else duration(outcome.seconds)
        rows.append((name, outcome.result.short_key, how, byte_size(record.size), came_out(record)))
    print_table(console, ("stage", "key", "time", "size", "result"), rows)
    if all(outcome.reused for outcome in outcomes.values()):
        print_line(console, "Nothing has changed: every stage was reused.")
    print_left_out(console, outcomes)
    print_scores(console, {name: stage_view(outcome.result) for name, outcome in outcomes.items()})
    print_line(console, f"{duration(seconds)} in all")
    if "report" in outcomes:
        print_line(console, "Report:")
        print_line(console, str(outcomes["report"].result.folder / PAGE_NAME))
    elif "motion" in outcomes:
        root = outcomes["motion"].result.folder.parents[1]
        print_line(console, "What moves, to look at:")
        print_line(console, f"mscl motion page --workspace {shlex.quote(str(root))}")


def print_result(console: Console, result: Result) -> None:
    """All that is known of a result: where it is, what it was made of, how and with what, its numbers and files."""
    record = result.record
    made = f"{record.created_at:%Y-%m-%d %H:%M} UTC on {record.host}, in {stage_view(result).took}"
    print_line(console, f"{record.stage} {record.key}: {came_out(record)}")
    print_line(console, f"  folder    {result.folder}")
    print_line(console, f"  made      {made}, by version {record.version} of the stage")
    for name, key in record.inputs.items():
        print_line(console, f"  reads     {name} {key}")
    print_line(console, f"  versions  {', '.join(f'{name} {text}' for name, text in record.versions.items())}")
    print_line(console, "settings")
    for line in _yaml_lines(record.config, "  "):
        print_line(console, line)
    scores = Results.of({record.stage: stage_view(result)})
    blocks = [*scores.tables(), *scores.notes()]
    if metrics := dict(plain_metrics(record.metrics)) if blocks else record.metrics:
        print_line(console, "metrics")
        for line in _yaml_lines(metrics, "  "):
            print_line(console, line)
    print_blocks(console, blocks)
    shown = [(file.path, byte_size(file.size), file.digest[:16]) for file in record.files[:_FILES_SHOWN]]
    print_table(console, ("file", "size", "sha256"), shown)
    if more := len(record.files) - len(shown):
        print_line(console, f"... and {more:,} more files; --json names all")


def _yaml_lines(tree: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}:"
            yield from _yaml_lines(value, f"{indent}  ")
        else:
            yield f"{indent}{name}: {value_text(value)}"


def print_left_out(console: Console, outcomes: Mapping[str, Outcome]) -> None:
    """How many videos cannot be used, and why, where ingest is among these."""
    if "ingest" in outcomes:
        result = outcomes["ingest"].result
        notes = left_out_of(result.folder, result.record.metrics)
        print_blocks(console, [Note(f"ingest: {text}") for text in notes])


def came_out(record: Record) -> str:
    """What a result holds, in a few words."""
    if record.stage in BY_NAME:
        return BY_NAME[record.stage].came_out(record.metrics)
    return ", ".join(f"{name} {text}" for name, text in plain_metrics(record.metrics))
