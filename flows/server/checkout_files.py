"""`python -m flows.server.checkout_files`: write prefect.yaml and prefect.toml, which Prefect's own commands read.

Both say what `flows.deployments` and `flows.settings` say to ours, so they are made from them, and a test
holds them equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from flows import settings
from flows.deployments import DEPLOYMENTS, ENVIRONMENT, Deployment
from flows.settings import POOL

_YAML_HEAD = """\
# Written by `python -m flows.server.checkout_files` from flows/deployments.py; `mscl up` makes the same.
# For a server and a work pool of your own: `prefect deploy --all`. The flows are imported from the installed package:
# nothing is pulled, and the worker needs no checkout. Relative paths in a run's parameters count from the folder
# where these were deployed. The schedule is an example, switched off; a deploy sets it as it stands here.
"""
_TOML_HEAD = """\
# Written by `python -m flows.server.checkout_files` from flows/settings.py, which says why; for Prefect's own commands.
"""


def prefect_yaml() -> str:
    """The deployments for `prefect deploy --all`."""
    tree = {"name": "mscl-pipeline", "pull": [], "deployments": [_entry(one) for one in DEPLOYMENTS]}
    return _YAML_HEAD + str(yaml.safe_dump(tree, sort_keys=False, width=120))


def prefect_toml() -> str:
    """The settings for Prefect's commands in the checkout."""
    tree = {"home": settings.HOME, "api": {"url": settings.API_URL}, **settings.SETTINGS}
    return _TOML_HEAD + "\n".join(_toml(tree, "")) + "\n"


def _entry(deployment: Deployment) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": deployment.name,
        "entrypoint": deployment.entrypoint,
        "work_pool": {"name": POOL, "job_variables": {"working_dir": "{{ $PWD }}", "env": dict(ENVIRONMENT)}},
        "tags": deployment.tags,
        "enforce_parameter_schema": True,
    }
    return entry | ({"schedules": deployment.schedules} if deployment.schedules else {})


def _toml(tree: Mapping[str, Any], table: str) -> Iterator[str]:
    """Lines of a tree of tables; values are JSON's, but for tables whose names hold dots."""
    tables = {name: value for name, value in tree.items() if settings.is_table(value)}
    if len(tables) < len(tree) and table:
        yield f"\n[{table}]"
    for name, value in tree.items():
        if name in tables:
            continue
        if isinstance(value, Mapping):
            inner = ", ".join(f"{json.dumps(key)} = {json.dumps(one)}" for key, one in value.items())
            yield f"{name} = {{{inner}}}"
        else:
            yield f"{name} = {json.dumps(value)}"
    for name, value in tables.items():
        yield from _toml(value, f"{table}.{name}" if table else name)


if __name__ == "__main__":
    checkout = Path(__file__).resolve().parents[2]
    (checkout / "prefect.yaml").write_text(prefect_yaml())
    (checkout / "prefect.toml").write_text(prefect_toml())
