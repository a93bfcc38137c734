"""What `mscl up`, `down` and `status` do: the local Prefect server, work pool, deployments, worker and automation."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Collection
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from rich.console import Console

from flows import settings
from flows.printing import print_line
from flows.server import background_processes as processes
from flows.server.address import check_proxies
from flows.server.api_key import use_key, use_no_key, withdraw_profile, write_profile
from flows.server.found import Found, Kind, check_version, find
from flows.server.prefect_server import (
    api_url,
    bring_up,
    choose_server,
    is_healthy,
    server_pid,
    stop_server,
    ui_for_people,
)
from flows.settings import POOL, home
from mscl.errors import UserError
from storage.locks import held, open_lock

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.events.schemas.automations import AutomationCore

console = Console()
AUTOMATION = "mscl: runs whose process died"
SILENCE_SECONDS = 3 * settings.BEAT_SECONDS
"""A shorter time would mark healthy runs as crashed."""
_ENDINGS = ("Completed", "Failed", "Cancelled", "Crashed")
_WORKER_GRACE_SECONDS = 40.0
_STOPPED = "Stopped by `mscl down`. Run it again; it continues where it ended."


def up() -> None:
    """Start what is missing, the worker in this folder, and say where everything is."""
    from flows.progress import ConsoleProgress

    progress = ConsoleProgress(console)
    chosen = choose_server(progress)
    # Of two commands at once, one starts the worker.
    with held(open_lock(home() / "up.lock"), on_wait=_say_that_another_is_at_work):
        # Before the server: it waits for that and for the pool, and is imported meanwhile, as are the flows.
        worker = _start_worker() if _worker_pid() is None else None
        try:
            bring_up(chosen, progress, meanwhile=lambda: import_module("flows.pipeline"))
            from prefect.client.orchestration import get_client

            from flows.deployments import deploy

            progress.start("Making deployments", None, "")
            with get_client(sync_client=True) as client:
                _make_pool(client)
                names = deploy(client, folder=Path.cwd())
                _automate(client)
            if chosen.kind is not Kind.OTHERS:
                write_profile(chosen.url)
            progress.done()
            if worker is not None and worker.poll() is not None:
                raise UserError(f"the worker ended at once with code {worker.returncode}; see {_worker_log()}")
        except BaseException:
            if worker is not None:
                processes.end(worker.pid, grace_seconds=_WORKER_GRACE_SECONDS)
            raise
    print_line(console, f"worker       process {_worker_pid()}, log {_worker_log()}")
    print_line(console, f"deployments  {', '.join(names)}")
    print_line(console, f"Prefect UI   {ui_for_people()}")
    variables = f"PREFECT_API_URL={shlex.quote(chosen.url)}"
    if chosen.kind is not Kind.OTHERS:  # the profile with the key lies there
        variables = f"PREFECT_HOME={shlex.quote(str(home()))} {variables}"
    print_line(console, f"Run          {variables} prefect deployment run full/full -p preset=demo -p data_root=...")


def down(*, force: bool = False) -> None:
    """Stop the worker, the runs it works on, and the server if it is ours.

    Args:
        force: also a server that runs of others than this worker, such as those of a terminal, still need.

    Raises:
        UserError: such runs go on, and so does their server.
    """
    found = _find()
    pid = _worker_pid()
    # The worker first, while the server can be told how its runs ended.
    ended = processes.end(pid, grace_seconds=_WORKER_GRACE_SECONDS) if pid is not None else set()
    others = _end_runs(found, {member.pid for member in ended})
    print_line(console, "worker stopped" if pid is not None else "no worker was running")
    _pid_file().unlink(missing_ok=True)
    if others and server_pid() is not None:
        names = ", ".join(others)
        if not force:
            raise UserError(
                f"the server goes on, for these runs need it: {names}; end them first (Ctrl-C in their terminal), or "
                f"`mscl down --force`; a run whose process is gone counts for {SILENCE_SECONDS} s more"
            )
        print_line(console, f"without their server these end within minutes, and `mscl run` continues them: {names}")
    stopped = stop_server()
    withdraw_profile()
    if found.kind is Kind.OTHERS and is_healthy(found.url):
        print_line(console, f"the server at {found.url} is not ours and goes on")
    else:
        print_line(console, "server stopped" if stopped else "no server was running")


def status() -> bool:
    """Say whether server, worker and deployments are there; False if one is not."""
    found = _find()
    worker = _worker_pid(end_strangers=False)
    is_usable = _is_usable(found)
    print_line(console, f"server       {found}" + ("" if is_usable else f"; {found.advice}"))
    print_line(console, f"worker       {f'process {worker}' if worker is not None else 'not running'}")
    names: list[str] = []
    if is_usable:
        if said := check_version(found.url):
            print_line(console, said)
        from prefect.client.orchestration import get_client

        from flows.deployments import made_deployments

        with get_client(sync_client=True) as client:
            names = [deployment["name"] for deployment in made_deployments(client)]
        shown = ", ".join(names) or "none; `mscl up` makes them"
        print_line(console, f"deployments  {shown}")
        print_line(console, f"Prefect UI   {ui_for_people()}")
    return worker is not None and bool(names)


def _find() -> Found:
    """The server that is there, with what this process needs to talk to it."""
    settings.apply()
    found = find()
    check_proxies(found.address)
    os.environ["PREFECT_API_URL"] = found.url
    if found.kind is Kind.OURS:
        use_key()
    else:
        use_no_key()
    return found


def _is_usable(found: Found) -> bool:
    return found.is_wanted and is_healthy(found.url)


def _make_pool(client: SyncPrefectClient) -> None:
    """The work pool; one that is there stays as it is, for somebody may have changed its job template."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        kind = client.read_work_pool(POOL).type
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=POOL, type=ProcessWorker.type, base_job_template=template))
        return
    if kind != ProcessWorker.type:
        raise UserError(
            f"work pool {POOL!r} at {api_url()} is of type {kind!r}, and `mscl up` starts a process worker; "
            f"start a worker of that type (`prefect worker start --pool {POOL}`) and deploy with `prefect deploy --all`"
        )


def _end_runs(found: Found, ended: Collection[int]) -> list[str]:
    """Say of the runs that ended with the worker how they did: Prefect says no word of it. Names of those that go on.

    Args:
        ended: ids of the worker's processes; none where there was no worker.
    """
    if not _is_usable(found):
        return []
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
    from prefect.states import Cancelled, Crashed

    going_on = ["RUNNING", "PAUSED"]
    alone = FlowRunFilter.model_validate(
        {"state": {"type": {"any_": going_on}}, "parent_task_run_id": {"is_null_": True}}
    )
    begun = FlowRunFilter.model_validate({"state": {"type": {"any_": [*going_on, "PENDING", "CANCELLING"]}}})
    with get_client(sync_client=True) as client:
        if ended:
            pool = WorkPoolFilter.model_validate({"name": {"any_": [POOL]}})
            for run in client.read_flow_runs(flow_run_filter=begun, work_pool_filter=pool):
                if has_ended_here(run, ended, is_ours=found.kind is Kind.OURS):
                    how = Cancelled if run.state is not None and run.state.is_cancelling() else Crashed
                    client.set_flow_run_state(run.id, how(message=_STOPPED), force=True)
        return [run.name for run in client.read_flow_runs(flow_run_filter=alone) if _has_a_process(run)]


def has_ended_here(run: FlowRun, ended: Collection[int], *, is_ours: bool) -> bool:
    """Whether the process of a run that has begun is one of `ended`, or is not there.

    A server elsewhere may have workers on several machines: of what runs on another one nothing is known here.
    """
    if not _has_a_process(run):
        return False
    number = run.infrastructure_pid or ""
    if not number.isdigit():
        return is_ours
    return int(number) in ended or (is_ours and not psutil.pid_exists(int(number)))


def _has_a_process(run: FlowRun) -> bool:
    """Not one that is suspended: it has ended, and is started again when somebody resumes it."""
    return run.state is not None and run.state.name != "Suspended"


def _automate(client: SyncPrefectClient) -> None:
    """Runs that have gone silent are marked Crashed; what an earlier version made is brought up to date.

    Only where it differs: an update makes the trigger a new one, which forgets the silences that the old one measured.
    """
    wanted = _automation()
    found = client.read_automations_by_name(AUTOMATION)
    if not found:
        client.create_automation(wanted)
    elif _comparable(found[0]) != _comparable(wanted):
        client.update_automation(found[0].id, wanted)


def _comparable(automation: AutomationCore) -> dict[str, Any]:
    """What an automation does, in a form that can be compared."""
    content = automation.model_dump(mode="json", include={"description", "trigger", "actions"})
    trigger = content["trigger"]
    trigger.pop("id", None)
    return content | {"trigger": {name: sorted(v) if isinstance(v, list) else v for name, v in trigger.items()}}


def _automation() -> AutomationCore:
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    heartbeat = "prefect.flow-run.heartbeat"
    trigger = EventTrigger(
        posture=Posture.Proactive,
        match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        match_related=ResourceSpecification(
            {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{settings.TAG}"}
        ),
        after={heartbeat},
        expect={heartbeat, *(f"prefect.flow-run.{state}" for state in _ENDINGS)},
        for_each={"prefect.resource.id"},
        threshold=1,
        within=timedelta(seconds=SILENCE_SECONDS),
    )
    message = f"No heartbeat for {SILENCE_SECONDS} s: the process is gone. Run it again; it continues where it ended."
    return AutomationCore(
        name=AUTOMATION,
        description="Marks runs as crashed whose process was killed, so that they do not look alive for ever.",
        trigger=trigger,
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )


def _say_that_another_is_at_work() -> None:
    print_line(console, "waiting for another `mscl up` of this user")


def _start_worker() -> subprocess.Popen[bytes]:
    return processes.start([sys.executable, "-m", "flows.server.worker"], pid_file=_pid_file(), log=_worker_log())


def _worker_pid(*, end_strangers: bool = True) -> int | None:
    """Process id of our worker. One with another server or key than is meant is ended: nobody else would."""
    pid = processes.running(_pid_file(), "flows.server.worker")
    meant = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")
    if pid is not None and any(processes.variable(pid, name) != os.environ.get(name) for name in meant):
        if end_strangers:
            processes.end(pid, grace_seconds=_WORKER_GRACE_SECONDS)
        return None
    return pid


def _pid_file() -> Path:
    return home() / "mscl-worker.pid"


def _worker_log() -> Path:
    return home() / "mscl-worker.log"
