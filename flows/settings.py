"""Prefect settings that this project needs, set before Prefect is imported; the user's environment wins,
but for the heartbeat.

`prefect.toml` at the top of the checkout is made from here, for Prefect's own commands. Why each: the SQLite time-outs
and batch sizes keep "database is locked" away under a busy flow; the heartbeat lets an automation find runs
whose process was killed, and is of no use after some hours (3 kB each, and Prefect keeps them for a week); analytics
and update checks would wait for a network that may not be there.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from mscl.errors import UserError

API_URL = "http://127.0.0.1:4200/api"
HOME = "~/.mscl/prefect"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
TAG = "mscl"
"""On every run of ours; the automation for killed runs looks at no others, for theirs may beat more slowly."""
POOL = "mscl"
"""Work pool of this machine's worker."""
BEAT_SECONDS = 30
"""Between two heartbeats of a run; Prefect takes no less. The automation waits for three of them."""

SETTINGS: dict[str, Any] = {
    "server": {
        "analytics_enabled": False,
        "database": {"timeout": 60, "connection_timeout": 60},
        "ephemeral": {"startup_timeout_seconds": 180},
        "services": {
            "task_run_recorder": {"batch_size": 200, "read_batch_size": 200, "flush_interval": 2},
            "event_persister": {"batch_size": 200},
            "db_vacuum": {"event_retention_overrides": {"prefect.flow-run.heartbeat": 21600}},
        },
    },
    "worker": {"query_seconds": 2},
    "flows": {"heartbeat_frequency": BEAT_SECONDS},
}
"""By Prefect's own names, as `prefect.toml` has them."""


def is_table(value: Any) -> bool:
    """Whether a value holds settings; else it is one, be it a mapping of names with dots."""
    return isinstance(value, Mapping) and not any("." in name for name in value)


def variables(tree: Mapping[str, Any] = SETTINGS, prefix: str = "PREFECT") -> Iterator[tuple[str, str]]:
    """The settings as Prefect's environment variables."""
    for name, value in tree.items():
        variable = f"{prefix}_{name.upper()}"
        if is_table(value):
            yield from variables(value, variable)
        else:
            yield variable, value if isinstance(value, str) else json.dumps(value)


def apply() -> None:
    """Fill `os.environ` where the user has set nothing. Call before the first `import prefect`."""
    for name, value in variables():
        os.environ.setdefault(name, value)
    # Not the user's: a run that beats more slowly than the automation expects would be taken for dead.
    os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = str(BEAT_SECONDS)
    os.environ.setdefault("DO_NOT_TRACK", "1")
    if "PREFECT_HOME" not in os.environ:
        # A home of our own: an old database of another project cannot get in the way. Profiles stay the person's.
        profiles = Path("~/.prefect/profiles.toml").expanduser()
        if profiles.is_file():
            os.environ.setdefault("PREFECT_PROFILES_PATH", str(profiles))
        os.environ["PREFECT_HOME"] = str(Path(HOME).expanduser())
    # The run's page keeps all log lines; the console shows our own progress instead.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    _keep_proxies_from_loopback()


def home() -> Path:
    """Prefect's folder, made if it is not there: database, logs, key, pid files.

    Raises:
        UserError: it cannot be made, or nothing can be written there.
    """
    folder = Path(os.environ["PREFECT_HOME"]).expanduser()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # Prefect makes the last folder of it only
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"PREFECT_HOME={folder} cannot be written ({error.strerror}); name another folder") from error
    return folder


def _keep_proxies_from_loopback() -> None:
    """A proxy of the environment is for other machines: none reaches the loopback of this one."""
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    exempt = [name for name in map(str.strip, given.split(",")) if name]
    exempt += [name for name in LOOPBACK if name not in exempt]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(exempt)
