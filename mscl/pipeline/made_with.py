"""What a stage reads: of which videos, and where it was made with other settings than the stage is run with."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from mscl.config import ExperimentConfig
from mscl.config.trees import joined
from mscl.errors import UserError
from mscl.ingest.places import dataset_root
from mscl.pipeline.stages import BY_NAME
from storage.record import Record
from storage.result_folder import Result

_SHOWN = 3
_VIDEOS = "ingest"
"""Its settings say which videos they are, and to ask for them looks at every one."""


def reads(inputs: Mapping[str, Result], lineage: Sequence[Result]) -> str:
    """`ingest 1f2e3d4c, extract 5a6b7c8d, of /data/UCF-101`: which results a stage reads, and of which videos."""
    keys = [f"{stage} {result.short_key}" for stage, result in inputs.items()]
    records = {one.key: one.record for one in lineage}
    roots = {videos_of(record, records) for record in records.values()} - {""}
    return ", ".join([*keys, *(f"of {root}" for root in sorted(roots))])


def videos_of(record: Record, records: Mapping[str, Record]) -> str:
    """Folder of the videos that a result was made of, by the ingest that it goes back to; empty where it is not known.

    `records`: those of its lineage, by key.
    """
    if record.stage == "ingest":
        return str(record.config.get("data", {}).get("root", ""))
    found = (videos_of(records[key], records) for key in record.inputs.values() if key in records)
    return next((root for root in found if root), "")


def reused_from_elsewhere(config: ExperimentConfig, reused: Sequence[Result]) -> list[str]:
    """A line for each result that is reused and was made with another machine's settings; all others have `config`'s.

    Only stages that have settings elsewhere are asked: to ask others may take their files' digests once more.
    """
    return other_settings(config, [one for one in reused if BY_NAME[one.record.stage].settings_elsewhere])


def root_of(lineage: Sequence[Result]) -> str:
    """Folder of the videos that the last of a lineage was made of; empty where it is not known."""
    return videos_of(lineage[-1].record, {one.key: one.record for one in lineage})


def other_settings(config: ExperimentConfig, lineage: Sequence[Result]) -> list[str]:
    """A line for each result of a stage's lineage that other settings than `config`'s decided: it is read as it is.

    `extract 1f2e3d4c was made with flow.method='denseflow', not 'tvl1'`.
    """
    lines = []
    for result in lineage:
        record = result.record
        here: dict[str, Any] = {}
        with suppress(UserError):  # of a file that nobody is going to read
            if record.stage == _VIDEOS:
                here = _of_videos(config, record)
            elif record.stage in BY_NAME:
                here = joined(BY_NAME[record.stage].settings(config))
        found = [
            f"{name}={value!r}, not {here[name]!r}"
            for name, value in joined(record.config).items()
            if name in here and here[name] != value
        ]
        if found:
            more = f"; and {len(found) - _SHOWN} settings more" if len(found) > _SHOWN else ""
            lines.append(f"{record.stage} {result.short_key} was made with {'; '.join(found[:_SHOWN])}{more}")
    return lines


def _of_videos(config: ExperimentConfig, record: Record) -> dict[str, Any]:
    """What of an ingest's settings is known without a look at the videos: not which lists were found beside them."""
    here = joined({"data": config.data.model_dump(mode="json"), "min_frames": config.flow.span_frames + 1})
    there = joined(record.config)
    unknown = [f"data.{name}" for name in ("annotations", "max_bad_fraction")]
    if isinstance(there.get("data.split"), list):  # it has all official ones
        unknown.append("data.split")
    if config.data.root:
        here["data.root"] = str(dataset_root(config))
    else:
        unknown.append("data.root")
    return {name: value for name, value in here.items() if name not in unknown}
