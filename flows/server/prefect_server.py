"""The Prefect server: found if one answers, started in the background on loopback if none does."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from flows import settings
from flows.server import background_processes as processes
from flows.server.address import PROFILE, active_profile, check_proxies, wanted
from flows.server.api_key import key_file, make_key, use_key, use_no_key
from flows.server.found import Found, Kind, ask, check_version, find, our_address, our_pid, pid_file
from flows.server.guard import FACTORY
from flows.settings import home
from mscl.errors import UserError
from mscl.progress import Progress
from storage.locks import held, open_lock

START_SECONDS = 180.0
"""What a server may take to start, on a slow and busy machine."""
_STOP_SECONDS = 20.0
_PRIVATE_UMASK = 0o077


def api_url() -> str:
    """The API that the environment or the active profile names, else our own on loopback."""
    return wanted().url


def ui_url() -> str:
    """Address of the UI, for people."""
    return os.environ.get("PREFECT_UI_URL") or api_url().removesuffix("/api")


def ui_for_people() -> str:
    """Address of the UI, and where the key stands that the UI of our server asks for."""
    ours = our_address()
    is_ours = ours is not None and ours.url == api_url()
    return ui_url() + (f" (asks once for a key: what stands in {key_file()})" if is_ours else "")


def is_healthy(url: str) -> bool:
    """Whether a Prefect API answers at `url`."""
    return ask(f"{url}/health")[1] is True


def ensure_server(
    progress: Progress, *, timeout_seconds: float = START_SECONDS, meanwhile: Callable[[], object] | None = None
) -> str:
    """Address of an API that answers; starts a background server on loopback when none does.

    Sets address and key for this process, so that flows run against it. The server outlives this process
    and Ctrl-C in its terminal; `stop_server` ends it. Of two commands that need it at once, one starts it.

    Args:
        meanwhile: called once while a server that was started here is on its way: imports, which take as long.

    Raises:
        UserError: as `choose_server`; or the server did not come up.
    """
    chosen = choose_server(progress)
    bring_up(chosen, progress, timeout_seconds=timeout_seconds, meanwhile=meanwhile)
    return chosen.url


def choose_server(progress: Progress) -> Found:
    """Decide which server this process talks to, and set address and key for it. Before Prefect is imported.

    Raises:
        UserError: nobody asked for the server that answers, or it is no Prefect API, or nobody answers where no
            server of ours can be started, or its version does not fit.
    """
    settings.apply()
    found, asked = find(), wanted().named_by
    check_proxies(found.address)
    if found.kind is Kind.OTHERS and not asked:
        earlier = f"; if an earlier mscl left it, `mscl down` ends it (process {pid})" if (pid := server_pid()) else ""
        raise UserError(f"{found}, and nobody asked for it: {found.advice}{earlier}")
    if found.kind is Kind.PROGRAM or (found.kind is Kind.NOBODY and not found.address.is_loopback):
        raise UserError(f"{found}; {found.advice}")
    if found.kind is Kind.NOBODY and (ours := our_address()) is not None:
        raise UserError(f"our server runs at {ours.url}, not at {found.url} as {asked} says; `mscl down` ends it")
    os.environ["PREFECT_API_URL"] = found.url
    if found.kind is Kind.NOBODY:
        make_key()
    if found.kind is Kind.OTHERS:
        use_no_key()
        if asked != "PREFECT_API_URL":
            progress.say(f"{asked} names the server: {found.url}")
    else:
        use_key()
    if found.kind is not Kind.NOBODY and (said := check_version(found.url)):
        progress.say(said)
    return found


def bring_up(
    chosen: Found,
    progress: Progress,
    *,
    timeout_seconds: float = START_SECONDS,
    meanwhile: Callable[[], object] | None = None,
) -> None:
    """Start our server, or wait for it if it is on its way; one of somebody else is there.

    Raises:
        UserError: it did not come up.
    """
    if chosen.kind is Kind.OTHERS:
        return
    with held(open_lock(home() / "server.lock"), on_wait=lambda: None):
        if our_pid() is None:
            _start(chosen, progress, timeout_seconds, meanwhile)
        else:
            _wait(chosen.url, timeout_seconds)


def server_pid() -> int | None:
    """Process id of our background server, if it runs; also of one that `prefect server start --background` started."""
    return our_pid() or processes.running(pid_file(), "prefect", "server")


def stop_server() -> bool:
    """Stop the background server; False when there was none. A pid file of a killed server is removed."""
    settings.apply()
    pid = server_pid()
    if pid is not None:
        processes.end(pid, grace_seconds=_STOP_SECONDS)
    pid_file().unlink(missing_ok=True)
    return pid is not None


def _start(chosen: Found, progress: Progress, timeout_seconds: float, meanwhile: Callable[[], object] | None) -> None:
    url, log = chosen.url, home() / "server.log"
    for database in home().glob("prefect.db*"):  # of earlier versions
        database.chmod(0o600)
    progress.start("Starting the Prefect server", None, "")
    # Not `--background`: that one stays in our terminal's process group, where Ctrl-C ends it, and keeps no log.
    server = processes.start(
        [sys.executable, "-m", "uvicorn", "--factory", FACTORY, "--log-level", "warning",
         "--host", chosen.address.host, "--port", str(chosen.address.port)],
        pid_file=pid_file(), log=log, environment=_server_environment(chosen), umask=_PRIVATE_UMASK,
    )  # fmt: skip
    deadline = time.monotonic() + timeout_seconds
    if meanwhile is not None:
        meanwhile()
    while not is_healthy(url):
        code = server.poll()
        if code is not None or time.monotonic() > deadline:
            stop_server()
            what = f"ended with code {code}" if code is not None else f"gave no answer within {timeout_seconds:.0f} s"
            last = " ".join(log.read_text(errors="replace").split())[-300:]
            raise UserError(f"the Prefect server at {url} {what}: {last} (log: {log})")
        time.sleep(0.25)
        progress.advance(0)
    # The first answer beyond that one takes it .7 s: part of its start, for which no run is to wait.
    ask(f"{url}/admin/version", timeout_seconds=timeout_seconds)
    progress.done()


def _server_environment(chosen: Found) -> dict[str, str]:
    """Only its own pages may ask it; and it must not be pointed at an API, itself or another."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment["PREFECT_SERVER_API_AUTH_STRING"] = environment.pop("PREFECT_API_AUTH_STRING")
    if active_profile()[0] == PROFILE:
        environment["PREFECT_PROFILE"] = "ephemeral"
    origin = chosen.url.removesuffix("/api")
    environment.setdefault("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", origin)
    # The UI asks whoever serves it, be it through a forwarded port.
    environment["PREFECT_SERVER_UI_API_URL"] = "/api"
    return environment


def _wait(url: str, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not is_healthy(url):
        if our_pid() is None or time.monotonic() > deadline:
            raise UserError(f"our server at {url} gives no answer; `mscl down` ends it (log: {home()}/server.log)")
        time.sleep(0.25)
