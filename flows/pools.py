"""A stage where it belongs: `runtime.pools: {pretrain: gpu}` runs it as a deployment run on that work pool.

The run that asks waits for it, passes its own end on (cancellation, time-out, Ctrl-C), and takes the result from the
workspace, which workers of both pools must see under the same path.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.logging import get_run_logger
from prefect.states import Cancelling
from prefect.utilities.urls import url_for

from flows.deployments import deploy_one, made_deployments, stage_deployment
from flows.outcome_labels import labels_of
from flows.parameters import resolve
from flows.run_names import run_title
from mscl.config import ExperimentConfig
from mscl.errors import ConfigError, UserError
from mscl.pipeline import Outcome, Stage
from storage.result_folder import Result
from storage.workspace import Workspace

_POLL_SECONDS = 1.0
_END_SECONDS = 25.0
"""Prefect's worker gives the run that waits here 30 s to end after it was cancelled."""
_HERE = {"pools": {}, "pause_before": [], "runs_per_workspace": 0, "timeout_minutes": 0, "retries": 0}
"""What the run that waits sees to itself; it holds the workspace's slot, too."""


class PoolRunError(UserError):
    """A stage's run on another work pool did not complete."""


def check_pools(config: ExperimentConfig) -> None:
    """Refuse pools that the server does not have.

    Raises:
        ConfigError: names the setting, and the pools that there are.
    """
    if not config.runtime.pools:
        return
    with get_client(sync_client=True) as client:
        there = [pool.name for pool in client.read_work_pools()]
    for stage, pool in config.runtime.pools.items():
        if pool not in there:
            raise ConfigError(
                f"runtime.pools sends {stage} to work pool {pool!r}, and the server has {', '.join(there) or 'none'}; "
                f"`prefect work-pool create {pool} --type process`, and a worker for it"
            )


def run_on_pool(
    pool: str,
    stage: Stage,
    workspace: Workspace,
    config: ExperimentConfig,
    inputs: Mapping[str, Result],
    *,
    force: bool,
    preset: str,
) -> Outcome:
    """Run a stage's deployment on a work pool, and wait for its end.

    Raises:
        PoolRunError: it failed, crashed or was cancelled, which the message says; or it does not name its result.
        ConfigError: a form cannot say these settings over the preset.
    """
    began = time.monotonic()
    parameters = parameters_of(workspace, config, inputs, force=force, preset=preset)
    request = str(uuid4())
    with get_client(sync_client=True) as client:
        try:
            run = run_deployment(
                _deployment(client, stage, pool), parameters=parameters, timeout=0, idempotency_key=request,
                flow_run_name=run_title(config, preset=preset, stage=stage.name),
                # Until a worker takes it, a run from another folder may give the deployment that one.
                job_variables={"working_dir": str(Path.cwd())},
            )  # fmt: skip
            assert isinstance(run, FlowRun)
            what = f"{stage.name} on work pool {pool} ({url_for('flow-run', run.id)})"
            ended = _wait(client, run.id, what=what)
        except PoolRunError:
            raise
        except BaseException:  # a time-out, a cancellation, Ctrl-C: the run may just have been made
            _end(client, request)
            raise
    # The key that it found itself: where hardware decides, this machine would name another.
    labels = labels_of(ended)
    if labels is None:
        raise PoolRunError(f"{what} does not say which result it left; give its worker this version of the program")
    key, is_reused = labels
    return Outcome(workspace.by_key(key), reused=is_reused, seconds=time.monotonic() - began)


def parameters_of(
    workspace: Workspace, config: ExperimentConfig, inputs: Mapping[str, Result], *, force: bool, preset: str
) -> dict[str, Any]:
    """What a stage's run on another pool is given, so that it has this configuration and these inputs.

    Raises:
        ConfigError: it would have another configuration, for a form's empty field keeps what the preset has.
    """
    sections: dict[str, Any] = {
        name: getattr(config, name).model_dump(mode="json") for name in ExperimentConfig.model_fields
    }
    sections["runtime"] |= _HERE
    data = sections["data"]
    places: dict[str, str] = {"data_root": data.pop("root"), "annotations": data.pop("annotations")}
    there = resolve(preset, sections, **places)
    for setting in ("root", "annotations"):
        if getattr(there.data, setting) != getattr(config.data, setting):
            raise ConfigError(
                f"data.{setting} is empty and {preset} has {getattr(there.data, setting)!r}, which a run on another "
                "work pool would take; leave it out of the preset, or runtime.pools"
            )
    return {
        "preset": preset, **places, "workspace": str(workspace.root),
        "inputs": {name: result.key for name, result in inputs.items()}, "force": force, **sections,
    }  # fmt: skip


def _deployment(client: SyncPrefectClient, stage: Stage, pool: str) -> UUID:
    """The stage's deployment on that pool, made anew or brought up to date."""
    made = made_deployments(client, pool=pool)
    return deploy_one(client, stage_deployment(stage, pool=pool), folder=Path.cwd(), made=made)


def _wait(client: SyncPrefectClient, run: UUID, *, what: str) -> FlowRun:
    """The run when it has completed."""
    said = ""
    while True:
        there = client.read_flow_run(run)
        state = there.state
        if state is not None and state.is_final():
            break
        if state is not None and state.name != said:
            said = state.name or ""
            get_run_logger().info(f"{what}: {said}" + ("; no worker has taken it" if said == "Late" else ""))
        time.sleep(_POLL_SECONDS)
    if not state.is_completed():
        raise PoolRunError(f"{what} ended as {state.name}: {state.message or 'without a message'}")
    return there


def _end(client: SyncPrefectClient, request: str) -> None:
    """Cancel what was asked for, if it is there, and wait for a while until it has ended."""
    asked = FlowRunFilter.model_validate({"idempotency_key": {"any_": [request]}})
    deadline = time.monotonic() + _END_SECONDS
    is_told = False
    while time.monotonic() < deadline:
        runs = [run for run in client.read_flow_runs(flow_run_filter=asked) if run.state and not run.state.is_final()]
        if not runs:
            return
        if not is_told:
            client.set_flow_run_state(runs[0].id, Cancelling(message="The run that waits for it was stopped."))
            is_told = True
        time.sleep(_POLL_SECONDS)
