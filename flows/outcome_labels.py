"""How a stage's own run ended, as labels of the flow run: for the run on another machine that waits for it."""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import flow_run

from mscl.pipeline import Outcome

_KEY, _REUSED = "mscl.key", "mscl.reused"


def label_run(outcome: Outcome) -> None:
    """Say the result's key, and whether it was there already, in labels of this flow run."""
    if run := flow_run.get_id():
        with get_client(sync_client=True) as client:
            client.update_flow_run_labels(UUID(run), {_KEY: outcome.result.key, _REUSED: outcome.reused})


def labels_of(run: FlowRun) -> tuple[str, bool] | None:
    """Key of the result, and whether it was reused; None where the run does not say it."""
    key, reused = run.labels.get(_KEY), run.labels.get(_REUSED)
    return (key, reused) if isinstance(key, str) and isinstance(reused, bool) else None
