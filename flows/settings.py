"""Prefect settings that this project needs, set before Prefect is imported; the user's environment wins.

`prefect.toml` at the top of the checkout is made from here, for Prefect's own commands. Why each: the SQLite time-outs
and batch sizes keep "database is locked" away under a busy flow; the heartbeat lets an automation find runs
whose process was killed, and is of no use after some hours (3 kB each, and Prefect keeps them for a week); analytics
and update checks would wait for a network that may not be there.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

API_URL = "http://127.0.0.1:4200/api"
HOME = "~/.mscl/prefect"
TAG = "mscl"
"""On every run of ours; the automation for killed runs looks at no others, for theirs may beat more slowly."""

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
    "flows": {"heartbeat_frequency": 30},
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
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # A home of our own: an old database or profile of another project cannot get in the way.
    home = Path(os.environ.setdefault("PREFECT_HOME", str(Path(HOME).expanduser()))).expanduser()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)  # Prefect makes the last folder of it only
    # The run's page keeps all log lines; the console shows our own progress instead.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
