"""Finished results as rows: made with which preset, of which dataset, what came out, how long ago."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from flows.cli.results import came_out
from mscl.display.amounts import byte_size
from mscl.pipeline.made_with import videos_of
from mscl.stage.execute import PRESET
from storage.record import Record, short_key
from storage.result_folder import Result

HEAD = ("stage", "key", "preset", "dataset", "result", "age", "size")
_UNKNOWN = "-"
_STEPS = ((60, "s"), (60, "min"), (24, "h"), (7, "days"), (52, "weeks"))


def rows_of(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    """A row a result, the latest last. A shared one (ingest, extract) names the preset of the run that made it."""
    records = {result.key: result.record for result in results}
    roots = {key: videos_of(record, records) for key, record in records.items()}
    names = _short(set(roots.values()))
    now = datetime.now(UTC)
    for key, record in sorted(records.items(), key=lambda one: one[1].created_at):
        yield (
            record.stage, short_key(key), _preset(record), names[roots[key]], came_out(record),
            age((now - record.created_at).total_seconds()), byte_size(record.size),
        )  # fmt: skip


def age(seconds: float) -> str:
    """`40 s`, `3 min`, `5 h`, `2 days`: whole units, the largest that fits."""
    count, unit = max(0.0, seconds), "s"
    for number, (size, name) in enumerate(_STEPS):
        unit = name
        if number == len(_STEPS) - 1 or count < size:
            break
        count /= size
    return f"{int(count)} {unit.removesuffix('s') if int(count) == 1 and len(unit) > 3 else unit}"


def _short(roots: set[str]) -> dict[str, str]:
    """Name of each folder; its whole path where two are called alike."""
    names = [Path(root).name for root in roots]
    short = {root: Path(root).name if names.count(Path(root).name) == 1 else root for root in roots}
    return short | {"": _UNKNOWN}


def _preset(record: Record) -> str:
    preset = str(record.config.get(PRESET, ""))
    return Path(preset).name if preset.endswith((".yaml", ".yml")) else preset or _UNKNOWN
