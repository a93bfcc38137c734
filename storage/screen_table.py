"""What screening decided: the chosen clip starts of every segment, or why it has none, as Parquet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.errors import StorageError
from storage.manifest import read_table, write_table


@dataclass(frozen=True)
class ScreenRow:
    """Screening of one segment."""

    segment: int
    """Row number in the usable manifest."""
    verdict: str
    """`chosen`, `no_motion`, `too_short` ..."""
    reason: str = ""
    num_candidates: int = 0
    chosen: tuple[int, ...] = ()
    """Clip starts in units of fields, ascending."""
    scores: tuple[float, ...] = ()
    """Score of every candidate start (METHOD 1.2)."""


_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("segment", pa.int32()),
    ("verdict", pa.string()),
    ("reason", pa.string()),
    ("num_candidates", pa.int32()),
    ("chosen", pa.list_(pa.int32())),
    ("scores", pa.list_(pa.float32())),
]
_SCHEMA = pa.schema(_COLUMNS)


class ScreenTable:
    """Rows by segment number; opens fast, lists are cut out of the columns when asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.verdicts: npt.NDArray[Any] = table.column("verdict").to_numpy()
        self._chosen, self._chosen_ends = _flat(table.column("chosen"), np.int32)
        self._scores, self._scores_ends = _flat(table.column("scores"), np.float32)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def chosen(self, segment: int) -> npt.NDArray[np.int32]:
        """Chosen clip starts of `segment`, ascending."""
        self._check(segment)
        starts: npt.NDArray[np.int32] = self._chosen[self._chosen_ends[segment] : self._chosen_ends[segment + 1]]
        return starts

    def scores(self, segment: int) -> npt.NDArray[np.float32]:
        """Scores of all candidate starts of `segment`."""
        self._check(segment)
        scores: npt.NDArray[np.float32] = self._scores[self._scores_ends[segment] : self._scores_ends[segment + 1]]
        return scores

    def row(self, segment: int) -> ScreenRow:
        """All about `segment`."""
        self._check(segment)
        values = self.table.slice(segment, 1).to_pylist()[0]
        return ScreenRow(**{**values, "chosen": tuple(values["chosen"]), "scores": tuple(values["scores"])})

    def rows(self) -> Iterator[ScreenRow]:
        """All rows in order."""
        return (self.row(segment) for segment in range(len(self)))

    def _check(self, segment: int) -> None:
        if not 0 <= segment < len(self):
            raise StorageError(f"segment {segment} does not exist: screening has {len(self)}")


def write_screen(path: Path, rows: Sequence[ScreenRow]) -> str:
    """Write `rows`, one a segment in order, to `path` atomically; returns the file's sha256.

    Raises:
        StorageError: rows that are not segments 0, 1, 2 ..., or values of the wrong kind.
    """
    for expected, row in enumerate(rows):
        if row.segment != expected:
            raise StorageError(f"row {expected} of {path} is segment {row.segment}; give one row a segment, in order")
    columns = {item.name: [getattr(row, item.name) for row in rows] for item in fields(ScreenRow)}
    try:
        table = pa.table(columns, schema=_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise StorageError(f"a row of {path} has a value of the wrong kind: {error}") from error
    return write_table(path, table)


def read_screen(path: Path) -> ScreenTable:
    """Screening in `path`; DamagedError where it is missing or damaged."""
    return ScreenTable(read_table(path, _SCHEMA))


def _flat(column: "pa.ChunkedArray[Any]", dtype: type) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """All values of a list column in one array, and where each row's begin (one more than rows)."""
    lengths = np.empty(0, np.int64)
    values: list[npt.NDArray[Any]] = []
    for chunk in column.chunks:
        assert isinstance(chunk, pa.ListArray)
        values.append(np.asarray(chunk.flatten(), dtype))
        lengths = np.concatenate([lengths, np.asarray(chunk.value_lengths(), np.int64)])
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return (np.concatenate(values) if values else np.empty(0, dtype)), starts
