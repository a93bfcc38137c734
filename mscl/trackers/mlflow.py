"""MLflow: a database in the workspace, unless MLFLOW_TRACKING_URI names a server."""

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Before the import, which reads it: who asks for a local database has not asked to report its use.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from mlflow.entities import Metric, Param

from mscl.errors import UserError
from mscl.trackers.tracker import PROJECT, Ending, TrackedRun

_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_ID = "mscl.run"
_PARAMS_AT_ONCE = 100
_LONGEST_PARAM = 500
"""Characters, of servers before MLflow 2.8; newer ones take 6,000."""


class MLflow:
    """A run of MLflow: settings are parameters, lineage is tags, the report an artifact."""

    def __init__(self, run: TrackedRun) -> None:
        server = os.environ.get("MLFLOW_TRACKING_URI", "")
        if not server:
            if odd := [mark for mark in "?%" if mark in str(run.local)]:  # where its database's address would end
                raise UserError(f"MLflow can keep no database in {run.local}, whose name has a {odd[0]}; rename it")
            run.local.mkdir(parents=True, exist_ok=True)
        self._client = mlflow.MlflowClient(tracking_uri=server or f"sqlite:///{run.local / 'mlflow.db'}")
        # By the library's own choice a local database's files would go to the folder that this process runs in.
        files = None if server else (run.local / "mlflow").as_uri()
        experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT), files)
        found = self._client.search_runs([experiment], f"tags.`{_ID}` = '{run.id}'", max_results=1)
        if found:
            self._run: str = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        tags = {_ID: run.id, "mscl.stage": run.stage, "mscl.encoder": run.encoder}
        tags |= {f"lineage.{stage}": key for stage, key in run.lineage.items()}
        self._run = self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
        params = [Param(_name(name), _shortened(str(value))) for name, value in run.flat_settings().items()]
        for first in range(0, len(params), _PARAMS_AT_ONCE):
            self._client.log_batch(self._run, params=params[first : first + _PARAMS_AT_ONCE])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        now = time.time_ns() // 1_000_000
        self._client.log_batch(
            self._run, metrics=[Metric(_name(tag), value, now, step) for tag, value in values.items()]
        )

    def add_page(self, path: Path) -> None:
        self._client.log_artifact(self._run, str(path))

    def finish(self, ending: Ending) -> None:
        self._client.set_terminated(self._run, status=_STATUS[ending])

    def _experiment(self, name: str, files: str | None) -> Any:
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found else self._client.create_experiment(name, artifact_location=files)


def _name(tag: str) -> str:
    """The tag in the characters that MLflow takes: R@1 has another."""
    return re.sub(r"[^\w./: -]", "_", tag.replace("@", " at "))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_PARAM else text[: _LONGEST_PARAM - 3] + "..."
