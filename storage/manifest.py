"""The manifest: one row a segment of a video, with a verdict on what could be read, as Parquet."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from storage.atomic import write_atomic
from storage.errors import DamagedError, StorageError

USABLE_VERDICTS = ("ok", "truncated")
"""`truncated`: part of the video decodes and policy keeps that part; else its verdict is another."""

_CLASSES_KEY = b"classes"


@dataclass(frozen=True)
class SegmentRow:
    """A stretch of one video. The row of a video that cannot be used says why and has zeros where nothing is known."""

    segment_id: str
    video: str
    """Path relative to the data root, with `/`."""
    class_name: str = ""
    """Empty: unlabelled."""
    label: int = -1
    split: str = "train"
    """train, val or test; of a dataset with several official splits (storage.splits) the first of them."""
    num_frames: int = 0
    """Frames of this segment that decode."""
    first_frame: int = 0
    """Index of the segment's first frame in the video, in decode order."""
    fps: float = 0.0
    height: int = 0
    """As displayed, after rotation."""
    width: int = 0
    rotation: int = 0
    """Degrees, as the container says."""
    size_bytes: int = 0
    digest: str = ""
    """sha256 of the video file."""
    verdict: str = "ok"
    reason: str = ""
    cuts: tuple[int, ...] = ()
    """Where another shot begins, counted from the segment's first frame; 0: with that one."""


_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("segment_id", pa.string()),
    ("video", pa.string()),
    ("class_name", pa.string()),
    ("label", pa.int32()),
    ("split", pa.string()),
    ("num_frames", pa.int32()),
    ("first_frame", pa.int32()),
    ("fps", pa.float64()),
    ("height", pa.int32()),
    ("width", pa.int32()),
    ("rotation", pa.int32()),
    ("size_bytes", pa.int64()),
    ("digest", pa.string()),
    ("verdict", pa.string()),
    ("reason", pa.string()),
]
_SCHEMA_WITHOUT_CUTS = pa.schema(_COLUMNS)
"""Of manifests that were written before cuts were looked for; they are read as if there were none."""
_CUTS = pa.field("cuts", pa.list_(pa.int32()))
_SCHEMA = _SCHEMA_WITHOUT_CUTS.append(_CUTS)


class Manifest:
    """Rows of a manifest with the names of the classes in the order of their labels."""

    def __init__(self, table: pa.Table, classes: Sequence[str]) -> None:
        self.table = table
        self.classes = list(classes)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Values of a column: numbers as their NumPy type, text as object."""
        if name not in self.table.column_names:
            raise StorageError(f"a manifest has no column {name!r}; it has {', '.join(self.table.column_names)}")
        values: npt.NDArray[Any] = self.table.column(name).to_numpy()
        return values

    def row(self, index: int) -> SegmentRow:
        """Row `index`, from 0."""
        if not 0 <= index < len(self):
            raise StorageError(f"row {index} does not exist: the manifest has {len(self)}")
        return _row(self.table.slice(index, 1).to_pylist()[0])

    def rows(self) -> Iterator[SegmentRow]:
        """All rows in order."""
        return map(_row, self.table.to_pylist())

    def select(self, which: npt.NDArray[Any] | Sequence[int] | Sequence[bool]) -> "Manifest":
        """Manifest of some rows: a mask of all rows, or row numbers in the order wanted."""
        array = np.asarray(which)
        if array.dtype == np.bool_:
            if array.shape != (len(self),):
                raise StorageError(f"mask of shape {array.shape} for a manifest of {len(self)} rows")
            array = np.flatnonzero(array)
        return Manifest(self.table.take(array.astype(np.int64)), self.classes)

    def ok(self) -> "Manifest":
        """Manifest of the usable rows; a segment's number in the stores is its row number here."""
        return self.select(self.usable)

    @cached_property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Mask of the rows whose verdict allows use."""
        return np.isin(self.column("verdict").astype(str), USABLE_VERDICTS)


def write_manifest(path: Path, rows: Sequence[SegmentRow], *, classes: Sequence[str] = ()) -> str:
    """Write `rows` to `path` atomically.

    Args:
        classes: names in label order; empty: taken from the rows.

    Returns:
        sha256 of the file.

    Raises:
        StorageError: two rows with one segment id, labels without a class, or values of the wrong kind.
    """
    names = list(classes) or _classes_of(rows)
    for row in rows:
        if row.label >= len(names) or (row.label >= 0 and names[row.label] != row.class_name):
            raise StorageError(
                f"segment {row.segment_id}: label {row.label} with class {row.class_name!r} "
                f"does not fit the {len(names)} classes given"
            )
    if len({row.segment_id for row in rows}) != len(rows):
        raise StorageError(f"segment ids of {path} are not unique")
    columns = {item.name: [getattr(row, item.name) for row in rows] for item in fields(SegmentRow)}
    try:
        table = pa.table(columns, schema=_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise StorageError(f"a row of {path} has a value of the wrong kind: {error}") from error
    return write_table(path, table.replace_schema_metadata({_CLASSES_KEY: json.dumps(names).encode()}))


def read_manifest(path: Path) -> Manifest:
    """Manifest in `path`.

    Raises:
        DamagedError: missing, or no manifest.
    """
    table = read_table(path, _SCHEMA, _SCHEMA_WITHOUT_CUTS)
    if _CUTS.name not in table.column_names:
        table = table.append_column(_CUTS, pa.array([[]] * table.num_rows, _CUTS.type))
    return Manifest(table, json.loads((table.schema.metadata or {}).get(_CLASSES_KEY, b"[]")))


def _row(values: dict[str, Any]) -> SegmentRow:
    return SegmentRow(**{**values, "cuts": tuple(values["cuts"])})


def _classes_of(rows: Sequence[SegmentRow]) -> list[str]:
    by_label = {row.label: row.class_name for row in rows if row.label >= 0}
    return [by_label.get(label, "") for label in range(max(by_label, default=-1) + 1)]


def write_table(path: Path, table: pa.Table) -> str:
    """Write `table` to `path` atomically as Parquet with page checksums; returns the file's sha256."""
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return write_atomic(path, buffer.getvalue())


def read_table(path: Path, *schemas: pa.Schema) -> pa.Table:
    """Table in the Parquet file `path`, page checksums checked.

    Args:
        schemas: that the table may have, today's first; none: any.

    Raises:
        DamagedError: missing, damaged, or with the columns of none of `schemas`.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise DamagedError(f"cannot read {path}: {error}") from error
    if schemas and not any(table.schema.equals(schema) for schema in schemas):
        raise DamagedError(f"{path} has columns {table.column_names}, expected {schemas[0].names}")
    return table
