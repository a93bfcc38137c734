"""Where what a stage reads was made with other settings than those that it is run with."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from mscl.config import ExperimentConfig
from mscl.errors import UserError
from mscl.pipeline.stages import BY_NAME
from storage.result_folder import Result
from storage.workspace import Workspace

_SHOWN = 3
_VIDEOS = "ingest"
"""Its settings say which videos they are, and to ask for them looks at every one."""


def other_settings(workspace: Workspace, config: ExperimentConfig, inputs: Mapping[str, Result]) -> list[str]:
    """A line for each result behind `inputs` that other settings than `config`'s decided: they are read as they are.

    `extract 1f2e3d4c was made with flow.method='denseflow', not 'tvl1'`.
    """
    records = {one.key: one.record for result in inputs.values() for one in workspace.lineage(result)}
    lines = []
    for key, record in records.items():
        here: dict[str, Any] = {}
        with suppress(UserError):  # of a file that nobody is going to read
            if record.stage in BY_NAME.keys() - {_VIDEOS}:
                here = dict(_leaves(BY_NAME[record.stage].settings(config)))
        found = [
            f"{name}={value!r}, not {here[name]!r}"
            for name, value in _leaves(record.config)
            if name in here and here[name] != value
        ]
        if found:
            more = f"; and {len(found) - _SHOWN} settings more" if len(found) > _SHOWN else ""
            lines.append(f"{record.stage} {key[:8]} was made with {'; '.join(found[:_SHOWN])}{more}")
    return lines


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
