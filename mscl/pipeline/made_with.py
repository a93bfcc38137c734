"""Where what a stage reads was made with other settings than those that it is run with."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mscl.config import ExperimentConfig
from mscl.config.trees import joined
from mscl.errors import UserError
from mscl.pipeline.stages import BY_NAME
from storage.result_folder import Result

_SHOWN = 3
_VIDEOS = "ingest"
"""Its settings say which videos they are, and to ask for them looks at every one."""


def other_settings(config: ExperimentConfig, lineage: Sequence[Result]) -> list[str]:
    """A line for each result of a stage's lineage that other settings than `config`'s decided: it is read as it is.

    `extract 1f2e3d4c was made with flow.method='denseflow', not 'tvl1'`.
    """
    lines = []
    for result in lineage:
        record = result.record
        here: dict[str, Any] = {}
        with suppress(UserError):  # of a file that nobody is going to read
            if record.stage in BY_NAME.keys() - {_VIDEOS}:
                here = joined(BY_NAME[record.stage].settings(config))
        found = [
            f"{name}={value!r}, not {here[name]!r}"
            for name, value in joined(record.config).items()
            if name in here and here[name] != value
        ]
        if found:
            more = f"; and {len(found) - _SHOWN} settings more" if len(found) > _SHOWN else ""
            lines.append(f"{record.stage} {result.key[:8]} was made with {'; '.join(found[:_SHOWN])}{more}")
    return lines
