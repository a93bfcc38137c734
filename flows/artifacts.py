"""What a run leaves to look at in the Prefect UI: a report per stage, a table of what was reused."""

from __future__ import annotations

from collections.abc import Mapping

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from mscl.stages import Outcome, stage_view
from storage.workspace import Workspace

# The event that carries an artifact is refused above about 1 MB.
_MAX_BYTES = 900_000


def publish_stage(workspace: Workspace, outcome: Outcome) -> None:
    """One Markdown report; the key is stable, so that versions of a stage's report line up in the UI."""
    from mscl.report.artifacts import stage_markdown

    record = outcome.result.record
    inputs = [stage_view(result) for result in workspace.lineage(outcome.result)[:-1]]
    markdown = stage_markdown(stage_view(outcome.result), inputs, max_bytes=_MAX_BYTES)
    create_markdown_artifact(
        markdown, key=f"{record.stage}-report", description=f"{record.stage} {record.key}" + _how(outcome)
    )


def publish_summary(outcomes: Mapping[str, Outcome]) -> None:
    """Table of the whole run: what was computed, what was reused, where it lies."""
    rows = [
        {
            "stage": name,
            "key": outcome.result.key,
            "": "reused" if outcome.reused else "computed",
            "seconds": round(outcome.seconds, 1),
            "MB": round(outcome.result.record.size / 1e6, 1),
            "folder": str(outcome.result.folder),
        }
        for name, outcome in outcomes.items()
    ]
    create_table_artifact(rows, key="pipeline", description="Stages of this run")


def _how(outcome: Outcome) -> str:
    return " (reused)" if outcome.reused else ""
