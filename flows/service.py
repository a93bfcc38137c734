"""`mscl up`, `mscl down`, `mscl status`: the local Prefect server, work pool, deployments and worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import typer
from rich.console import Console

from flows import settings
from flows.server import api_url, ensure_server, is_healthy, stop_server, ui_url
from mscl.errors import UserError

console = Console()
POOL = "mscl"


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (up, down, status):
        app.command()(command)


def up() -> None:
    """Start what deployments need: server, work pool, deployments, one worker. Again: only what is missing."""
    from flows.progress import ConsoleProgress

    ensure_server(ConsoleProgress(console))
    _prefect("work-pool", "create", POOL, "--type", "process", "--overwrite")
    with_file = files("flows") / "prefect.yaml"
    _prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(with_file))
    pid = _worker_pid()
    if pid is None:
        log = _home() / "mscl-worker.log"
        with open(log, "ab") as out:
            worker = subprocess.Popen(
                [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"],
                stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        _pid_file().write_text(str(worker.pid))
        console.print(f"worker started (log: {log})", highlight=False)
    console.print(f"Prefect UI: {ui_url()}\nRun: prefect deployment run full/full -p preset=demo ...", highlight=False)


def down() -> None:
    """Stop the worker and the server that `mscl up` or `mscl run` started."""
    settings.apply()
    pid = _worker_pid()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        for _ in range(200):
            if _worker_pid() is None:
                break
            time.sleep(0.1)
        else:
            os.killpg(pid, signal.SIGKILL)
        console.print("worker stopped")
    _pid_file().unlink(missing_ok=True)
    stop_server()
    console.print("server stopped" if not is_healthy(api_url()) else f"a server we did not start answers at {api_url()}")


def status() -> None:
    """Whether server and worker are there."""
    settings.apply()
    healthy = is_healthy(api_url())
    console.print(f"server  {'answers' if healthy else 'no answer'} at {api_url()}", highlight=False)
    pid = _worker_pid()
    console.print(f"worker  {f'process {pid}' if pid else 'not running'}", highlight=False)
    if not healthy:
        raise typer.Exit(1)


def _prefect(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "prefect", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"prefect {' '.join(arguments)} failed: {(done.stderr or done.stdout).strip()[-800:]}")


def _home() -> Path:
    home = Path(os.environ["PREFECT_HOME"]).expanduser()
    home.mkdir(parents=True, exist_ok=True)
    return home


def _pid_file() -> Path:
    return _home() / "mscl-worker.pid"


def _worker_pid() -> int | None:
    """Process id of our worker, if it runs; the command line is looked at, for ids are used again."""
    try:
        pid = int(_pid_file().read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return None
    return pid if b"worker" in command else None
