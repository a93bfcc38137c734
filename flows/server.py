"""The Prefect server: found if one answers, started in the background on loopback if none does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from flows import settings
from mscl.errors import UserError
from mscl.progress import Progress


def api_url() -> str:
    """The API that the environment names, else our own on loopback."""
    return os.environ.get("PREFECT_API_URL") or settings.API_URL


def ui_url() -> str:
    """Address of the UI, for people."""
    return os.environ.get("PREFECT_UI_URL") or api_url().removesuffix("/api")


def is_healthy(url: str, *, timeout_seconds: float = 3.0) -> bool:
    """Whether a Prefect API answers at `url`."""
    request = urllib.request.Request(f"{url}/health", headers=_authorisation())
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
            return json.loads(answer.read()) is True
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError):
        return False


def ensure_server(progress: Progress, *, timeout_seconds: float = 180.0) -> str:
    """Address of an API that answers; starts a background server on loopback when none does.

    Sets `PREFECT_API_URL` for this process, so that flows run against it.

    Raises:
        UserError: the address is not ours to start a server on, or it did not come up.
    """
    settings.apply()
    url = api_url()
    if not is_healthy(url):
        host = urlsplit(url).hostname or ""
        if host not in {"127.0.0.1", "localhost", "::1"}:
            raise UserError(
                f"no Prefect API answers at {url}; check PREFECT_API_URL and the network, or use --no-prefect"
            )
        _start(url, progress, timeout_seconds)
    os.environ["PREFECT_API_URL"] = url
    return url


def stop_server() -> bool:
    """Stop the background server that `ensure_server` started; False when there was none."""
    settings.apply()
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "server", "stop"], capture_output=True, text=True, check=False
    )
    return done.returncode == 0 and "not" not in done.stdout.lower()


def _start(url: str, progress: Progress, timeout_seconds: float) -> None:
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 4200
    command = [sys.executable, "-m", "prefect", "server", "start", "--background", "--host", host, "--port", str(port)]
    # A server's own settings must not point it at an API; and a stale pid file of a killed one must not stop it.
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    subprocess.run([sys.executable, "-m", "prefect", "server", "stop"], capture_output=True, env=environment, check=False)
    progress.start("Starting the Prefect server", None, "s")
    started = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if started.returncode:
        raise UserError(
            f"the Prefect server did not start at {url}: {(started.stderr or started.stdout).strip()[-500:]}; "
            "free the port, set PREFECT_API_URL to another one, or use --no-prefect"
        )
    deadline = time.monotonic() + timeout_seconds
    while not is_healthy(url):
        if time.monotonic() > deadline:
            raise UserError(
                f"the Prefect server at {url} gave no answer within {timeout_seconds:.0f} s; see "
                f"{os.environ['PREFECT_HOME']}, or use --no-prefect"
            )
        time.sleep(0.5)
        progress.advance(0)
    progress.done()


def _authorisation() -> dict[str, str]:
    key = os.environ.get("PREFECT_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}
