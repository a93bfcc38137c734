"""What a run leaves to look at in the Prefect UI: a report per stage, and a table of what was reused or computed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from flows.background import submit
from mscl.display.blocks import Note
from mscl.pipeline import Outcome, stage_named
from mscl.report.stage import PAGE_NAME
from mscl.stage.view import stage_view
from storage.atomic import write_atomic
from storage.result_folder import Result
from storage.workspace import Workspace

# The event that carries an artifact is refused above about 1 MB.
_MAX_BYTES = 900_000
_MADE_BY = ".made-by.json"
"""Hidden: says which run computed a result, and is no part of it."""


def publish_stage(workspace: Workspace, outcome: Outcome) -> None:
    """One Markdown report of what was computed; the key is stable, so that a stage's reports line up in the UI."""
    _remember_run(outcome.result)
    submit(_publish, workspace, outcome)


def _publish(workspace: Workspace, outcome: Outcome) -> None:
    from mscl.report.markdown import stage_markdown

    record = outcome.result.record
    inputs = [stage_view(result) for result in workspace.lineage(outcome.result)[:-1]]
    markdown = stage_markdown(stage_named(record.stage), stage_view(outcome.result), inputs, max_bytes=_MAX_BYTES)
    create_markdown_artifact(
        markdown, key=f"{record.stage}-report", description=f"{_came_out(outcome.result)} (`{record.key}`)"
    )


def publish_summary(outcomes: Mapping[str, Outcome], *, failed: str = "") -> None:
    """The whole run: scores with their intervals, where the report lies, what was computed or reused, and by which run.

    Args:
        outcomes: stages that are done, in order.
        failed: stage that ended the run.
    """
    from mscl.display.amounts import byte_size
    from mscl.report.markdown import markdown_block
    from mscl.report.results import Results

    results = Results.of({name: stage_view(outcome.result) for name, outcome in outcomes.items()})
    parts = [markdown_block(block) for block in (*results.tables(), *results.notes())]
    if "report" in outcomes:
        page = outcomes["report"].result.folder / PAGE_NAME
        parts.append(f"Report with all pictures, on the worker's machine: `{page}`")
    head = ("stage", "", "result", "key", "seconds", "size", "made by")
    rows = [
        (
            name, "reused" if outcome.reused else "**computed**", _came_out(outcome.result),
            f"`{outcome.result.key}`", f"{outcome.seconds:.1f}", byte_size(outcome.result.record.size),
            run_link(outcome.result) if outcome.reused else "this run",
        )
        for name, outcome in outcomes.items()
    ]  # fmt: skip
    if failed:
        rows.append((failed, "**failed**", "", "", "", "", ""))
    parts.append("\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows)))
    if outcomes:
        root = next(iter(outcomes.values())).result.folder.parents[1]
        parts.append(f"Results, each with its `record.json`, are the folders `{root}/STAGE/KEY`")
    computed = sum(not outcome.reused for outcome in outcomes.values())
    title = f"{computed} stage{'s' * (computed != 1)} computed, {len(outcomes) - computed} reused" + (
        f", {failed} failed" if failed else ""
    )
    create_markdown_artifact("\n\n".join([f"# {title}", *parts]) + "\n", key="pipeline", description=title)


def _came_out(result: Result) -> str:
    """What a result holds, in a few words, as text of Markdown."""
    from mscl.report.markdown import markdown_block

    record = result.record
    return markdown_block(Note(stage_named(record.stage).came_out(record.metrics)))


def _remember_run(result: Result) -> None:
    run = flow_run.get_id()
    address = url_for("flow-run", run) if run else None
    if address:
        said = {"flow_run": run, "page": _public(address), "made": result.record.created_at.isoformat()}
        write_atomic(result.folder / _MADE_BY, json.dumps(said).encode())


def run_link(result: Result) -> str:
    """Markdown link to the page of the run that computed a result; a dash where it was none of Prefect's.

    What was made again in its folder without Prefect may still have the note of the run before.
    """
    made = result.record.created_at.isoformat()
    try:
        said = json.loads((result.folder / _MADE_BY).read_bytes())
        return f"[run]({said['page']})" if said.get("made", made) == made else "-"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "-"


def _public(address: str) -> str:
    """The address without what may be a name and a password."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
