"""Prefect settings that this project needs, set before Prefect is imported; the user's environment wins.

`prefect.toml` at the top of the checkout says the same to Prefect's own commands. Why each: the SQLite time-outs
and batch sizes keep "database is locked" away under a busy flow; the heartbeat lets an automation find runs
whose process was killed, and is of no use after some hours (3 kB each, and Prefect keeps them for a week); analytics
and update checks would wait for a network that may not be there.
"""

import os
from pathlib import Path

API_URL = "http://127.0.0.1:4200/api"
HOME = "~/.mscl/prefect"
TAG = "mscl"
"""On every run of ours; the automation for killed runs looks at no others, for theirs may beat more slowly."""

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "2",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_EVENT_RETENTION_OVERRIDES": '{"prefect.flow-run.heartbeat": 21600}',
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}


def apply() -> None:
    """Fill `os.environ` where the user has set nothing. Call before the first `import prefect`."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # A home of our own: an old database or profile of another project cannot get in the way.
    home = Path(os.environ.setdefault("PREFECT_HOME", str(Path(HOME).expanduser()))).expanduser()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)  # Prefect makes the last folder of it only
    # The run's page keeps all log lines; the console shows our own progress instead.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
