"""The deployments of `prefect.yaml`, made through the API: what `prefect deploy --all` makes, and closed forms.

Not by that command itself: it is a process that imports everything once more, asks the server three times as often,
and leaves every form open for names that no flow takes. A run that is given such a name crashes before it starts;
with the form closed the API refuses it and says which name it was.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import load_flow_from_entrypoint

import flows.pipeline  # noqa: F401  # the flows of all entry points


def deploy(client: SyncPrefectClient, *, folder: Path) -> list[str]:
    """Make the deployments, or bring them up to date; their names.

    Args:
        folder: relative paths in a run's parameters count from here.
    """
    return [_deploy_one(client, entry, folder) for entry in declared()]


def declared() -> list[dict[str, Any]]:
    """What `prefect.yaml` says of each deployment."""
    found: list[dict[str, Any]] = yaml.safe_load((files("flows") / "prefect.yaml").read_text())["deployments"]
    return found


def _deploy_one(client: SyncPrefectClient, entry: dict[str, Any], folder: Path) -> str:
    flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
    variables = {
        name: value.replace("{{ $PWD }}", str(folder)) for name, value in entry["work_pool"]["job_variables"].items()
    }
    schedules = [
        DeploymentScheduleCreate(
            slug=one["slug"], active=one["active"], schedule=CronSchedule(cron=one["cron"], timezone=one["timezone"])
        )
        for one in entry.get("schedules", [])
    ]
    client.create_deployment(
        flow_id=client.create_flow(flow),
        name=entry["name"],
        version=flow.version,
        description=flow.description,
        entrypoint=entry["entrypoint"],
        work_pool_name=entry["work_pool"]["name"],
        job_variables=variables,
        tags=entry["tags"],
        schedules=schedules,
        pull_steps=[],
        enforce_parameter_schema=entry["enforce_parameter_schema"],
        parameter_openapi_schema=flow.parameters.model_dump_for_openapi() | {"additionalProperties": False},
    )
    return str(entry["name"])
