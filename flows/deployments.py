"""The deployments: one per stage of the pipeline, `full` and `ablate`; for `mscl up`, and for `prefect deploy --all`.

`mscl up` makes them through the API: Prefect's command is a process that imports everything once more, asks the server
three times as often, and leaves every form open for names that no flow takes. A run that is given such a name crashes
before it starts; with the form closed the API refuses it and says which name it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.flows import load_flow_from_entrypoint

from flows.settings import BEAT_SECONDS, POOL, TAG
from mscl.pipeline import PIPELINE, Stage

ENVIRONMENT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(BEAT_SECONDS), "PYTHONSAFEPATH": "1"}
"""Of every run, whoever started its worker. The automation takes three beats of silence for the end of its process.
Beside a script that Prefect runs after each cancellation lies a `storage.py`, which would hide our package."""


@dataclass(frozen=True)
class Deployment:
    """What is said of a deployment; the rest comes from its flow."""

    name: str
    entrypoint: str
    kind: str
    """Tag beside the one that all runs have."""
    pool: str = POOL
    is_nightly: bool = False
    """Has an example of a schedule, switched off: at three, whatever new videos the folder holds by then."""

    @property
    def tags(self) -> list[str]:
        return [TAG, self.kind]

    @property
    def schedules(self) -> list[dict[str, Any]]:
        """As `prefect.yaml` has them."""
        nightly = {"slug": "nightly", "cron": "0 3 * * *", "timezone": "UTC", "active": False}
        return [nightly] if self.is_nightly else []


def stage_deployment(stage: Stage, *, pool: str = POOL) -> Deployment:
    """A stage's deployment; on another work pool than ours it has a name that says so."""
    name = stage.name if pool == POOL else f"{stage.name}-on-{pool}"
    return Deployment(name, f"flows.pipeline.{stage.name}", "stage", pool)


DEPLOYMENTS: tuple[Deployment, ...] = (
    Deployment("full", "flows.pipeline.full", "pipeline", is_nightly=True),
    *map(stage_deployment, PIPELINE),
    Deployment("ablate", "flows.ablation.ablate", "ablation"),
)


def deploy(client: SyncPrefectClient, *, folder: Path) -> list[str]:
    """Make the deployments, or bring them up to date; their names. What a person changed in the UI stays.

    Args:
        folder: relative paths in a run's parameters count from here.
    """
    before = made_deployments(client)
    for one in DEPLOYMENTS:
        deploy_one(client, one, folder=folder, made=before)
    return [one.name for one in DEPLOYMENTS]


def made_deployments(client: SyncPrefectClient, *, pool: str = POOL) -> list[dict[str, Any]]:
    """Deployments of a work pool, as the API tells them."""
    answer = client.request("POST", "/deployments/filter", json={"work_pools": {"name": {"any_": [pool]}}})
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()
    return found


def deploy_one(
    client: SyncPrefectClient, deployment: Deployment, *, folder: Path, made: Sequence[dict[str, Any]]
) -> UUID:
    """Make a deployment, or bring the one that is among `made` up to date."""
    flow: Flow[..., Any] = load_flow_from_entrypoint(deployment.entrypoint)
    flow_id = client.create_flow(flow)
    there = {(one["flow_id"], one["name"]): one for one in made}.get((str(flow_id), deployment.name))
    ours: dict[str, Any] = {
        "version": flow.version,
        "description": flow.description,
        "entrypoint": deployment.entrypoint,
        "work_pool_name": deployment.pool,
        "job_variables": _job_variables(there, folder),
        "tags": deployment.tags,
        "pull_steps": [],
        "enforce_parameter_schema": True,
        "parameter_openapi_schema": flow.parameters.model_dump_for_openapi() | {"additionalProperties": False},
    }
    # The server takes .6 s of a core to look at such a form, and there are a dozen.
    if there is not None and all(there[name] == value for name, value in ours.items()):
        return UUID(there["id"])
    return client.create_deployment(flow_id=flow_id, name=deployment.name, **ours, **_of_the_person(there, deployment))


def _job_variables(before: Mapping[str, Any] | None, folder: Path) -> dict[str, Any]:
    """Ours beside those of a person: credentials from blocks, resources of a pod."""
    theirs = (before or {}).get("job_variables") or {}
    environment = theirs.get("env")
    kept = environment if isinstance(environment, Mapping) else {}
    return {**theirs, "working_dir": str(folder), "env": {**kept, **ENVIRONMENT}}


def _of_the_person(before: dict[str, Any] | None, deployment: Deployment) -> dict[str, Any]:
    """What the UI can change of a deployment; Prefect would set what is not given back to nothing."""
    schedules = deployment.schedules if before is None else before["schedules"]
    kept: dict[str, Any] = {"schedules": [_schedule(one) for one in schedules]}
    if before is None:
        return kept
    limit, options = before["global_concurrency_limit"], before["concurrency_options"]
    return kept | {
        "parameters": before["parameters"],
        "concurrency_limit": limit["limit"] if limit else None,
        "concurrency_options": ConcurrencyOptions.model_validate(options) if options else None,
    }


def _schedule(given: Mapping[str, Any]) -> DeploymentScheduleCreate:
    """From `Deployment.schedules`, or from what the API tells."""
    schedule = given["schedule"] if "schedule" in given else {name: given[name] for name in ("cron", "timezone")}
    names = ("slug", "active", "parameters", "max_scheduled_runs")
    return DeploymentScheduleCreate.model_validate(
        {"schedule": schedule, **{name: given[name] for name in names if given.get(name) is not None}}
    )
