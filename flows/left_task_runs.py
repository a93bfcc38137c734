"""Task runs that a killed process left: Prefect ends its flow run, and lets them look alive for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
from prefect.states import Crashed

from flows.settings import TAG

_GRACE = timedelta(minutes=1)
"""Their own end may come a moment after that of their flow run."""


def end_left_task_runs() -> None:
    """Mark as crashed the task runs that run, or wait for a retry, under flow runs of ours that have ended."""
    ended = {"type": {"any_": ["CRASHED", "FAILED", "CANCELLED"]}}
    before = datetime.now(UTC) - _GRACE
    runs = FlowRunFilter.model_validate(
        {"state": ended, "tags": {"all_": [TAG]}, "end_time": {"before_": before.isoformat()}}
    )
    left = TaskRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING", "PENDING", "SCHEDULED"]}}})
    with get_client(sync_client=True) as client:
        for one in client.read_task_runs(task_run_filter=left, flow_run_filter=runs):
            client.set_task_run_state(one.id, Crashed(message="Its flow run has ended."), force=True)
