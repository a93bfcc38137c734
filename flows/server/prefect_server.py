"""The Prefect server: found if one answers, started in the background on loopback if none does."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows import settings
from flows.server import background_processes as processes
from mscl.errors import UserError
from mscl.progress import Progress

START_SECONDS = 180.0
"""What a server may take to start, on a slow and busy machine."""
_STOP_SECONDS = 20.0


def api_url() -> str:
    """The API that the environment names, else our own on loopback."""
    return os.environ.get("PREFECT_API_URL") or settings.API_URL


def ui_url() -> str:
    """Address of the UI, for people."""
    return os.environ.get("PREFECT_UI_URL") or api_url().removesuffix("/api")


def is_healthy(url: str, *, timeout_seconds: float = 3.0) -> bool:
    """Whether a Prefect API answers at `url`."""
    return _ask(f"{url}/health", timeout_seconds=timeout_seconds) is True


def _ask(address: str, *, timeout_seconds: float) -> Any:
    """What an address of the API answers; None where nothing of use comes."""
    request = urllib.request.Request(address, headers=_authorisation())
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
            return json.loads(answer.read())
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError):
        return None


def ensure_server(
    progress: Progress, *, timeout_seconds: float = START_SECONDS, meanwhile: Callable[[], object] | None = None
) -> str:
    """Address of an API that answers; starts a background server on loopback when none does.

    Sets `PREFECT_API_URL` for this process, so that flows run against it. The server outlives this process
    and Ctrl-C in its terminal; `stop_server` ends it. Of two commands that need it at once, one starts it.

    Args:
        meanwhile: called once while a server that was started here is on its way: imports, which take as long.

    Raises:
        UserError: the address is not ours to start a server on, or it did not come up.
    """
    settings.apply()
    url = os.environ["PREFECT_API_URL"] = api_url()
    if not is_healthy(url):
        host = urlsplit(url).hostname or ""
        if host not in {"127.0.0.1", "localhost", "::1"}:
            raise UserError(
                f"no Prefect API answers at {url}; check PREFECT_API_URL and the network, or use --no-prefect"
            )
        with open(home() / "server.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_healthy(url):
                _start(url, progress, timeout_seconds, meanwhile)
    return url


def server_pid() -> int | None:
    """Process id of our background server, if it runs; also of one that `prefect server start --background` started."""
    return processes.running(_pid_file(), "prefect", "server")


def stop_server() -> bool:
    """Stop the background server; False when there was none. A pid file of a killed server is removed."""
    settings.apply()
    pid = server_pid()
    if pid is not None:
        processes.end(pid, grace_seconds=_STOP_SECONDS)
    _pid_file().unlink(missing_ok=True)
    return pid is not None


def home() -> Path:
    """Prefect's folder: database, logs, pid files."""
    folder = Path(os.environ["PREFECT_HOME"]).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _pid_file() -> Path:
    return home() / "server.pid"  # the name that `prefect server stop` looks for


def _start(url: str, progress: Progress, timeout_seconds: float, meanwhile: Callable[[], object] | None) -> None:
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 4200
    log = home() / "server.log"
    # A server must not be pointed at an API, itself or another.
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    # Not taken from the command line: on another port than 4200 the UI would ask nobody and stay empty.
    if not {"PREFECT_UI_API_URL", "PREFECT_SERVER_UI_API_URL"} & set(environment):
        environment["PREFECT_SERVER_UI_API_URL"] = url
    progress.start("Starting the Prefect server", None, "s")
    # Not `--background`: that one stays in our terminal's process group, where Ctrl-C ends it, and keeps no log.
    server = processes.start(
        [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)],
        pid_file=_pid_file(), log=log, environment=environment,
    )  # fmt: skip
    began, told = time.monotonic(), 0
    deadline = began + timeout_seconds
    if meanwhile is not None:
        meanwhile()
    while not is_healthy(url):
        code = server.poll()
        if code is not None or time.monotonic() > deadline:
            stop_server()
            what = f"ended with code {code}" if code is not None else f"gave no answer within {timeout_seconds:.0f} s"
            last = " ".join(log.read_text(errors="replace").split())[-300:]
            raise UserError(
                f"the Prefect server at {url} {what}: {last} (log: {log}). "
                "Free the port, set PREFECT_API_URL to another one, or use --no-prefect"
            )
        time.sleep(0.25)
        seconds = int(time.monotonic() - began)
        progress.advance(seconds - told)
        told = seconds
    # The first answer beyond that one takes it .7 s: part of its start, for which no run is to wait.
    _ask(f"{url}/admin/version", timeout_seconds=timeout_seconds)
    progress.done()


def _authorisation() -> dict[str, str]:
    key = os.environ.get("PREFECT_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}
