"""Official splits of a dataset beside its manifest: one manifest, one extraction, and a train/test column per split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from storage.errors import DamagedError, StorageError
from storage.layout import Ingested
from storage.manifest import Manifest, read_table, write_table
from storage.result_folder import Result


def write_splits(folder: Path, splits: Mapping[int, Sequence[str]]) -> str:
    """Write what every row of the manifest in `folder` is in each split, by the split's number; returns the sha256.

    Values are those of the manifest's column `split`, and `unused`.
    """
    names = {f"split{number}": pa.array(list(values), pa.string()) for number, values in splits.items()}
    return write_table(Ingested(folder).splits_path, pa.table(names))


def split_numbers(folder: Path) -> tuple[int, ...]:
    """Numbers of the official splits that the ingest result in `folder` knows; empty where there is but one split."""
    path = Ingested(folder).splits_path
    if not path.is_file():
        return ()
    return tuple(int(name.removeprefix("split")) for name in read_table(path).column_names)


def which_split(folder: Path, asked: int | None) -> str:
    """What to say where nobody says which of several official splits is meant; empty where there is one."""
    numbers = split_numbers(folder)
    if asked is not None or len(numbers) < 2:
        return ""
    others = ", ".join(map(str, numbers[1:]))
    return f"train and test are those of official split {numbers[0]}; --official-split takes another ({others})"


def read_split(folder: Path, number: int) -> Manifest:
    """All rows of the manifest in `folder`, with split `number` in the column `split`.

    A dataset with one split is that split, whatever the number.

    Raises:
        StorageError: the dataset has several splits and not this one.
        DamagedError: a file is missing, damaged, or of another dataset.
    """
    manifest = Ingested(folder).manifest()
    numbers = split_numbers(folder)
    if not numbers:
        return manifest
    if number not in numbers:
        shown = ", ".join(map(str, numbers))
        raise StorageError(f"the dataset has no split {number}; its official splits are {shown}: set data.split")
    path = Ingested(folder).splits_path
    table = read_table(path)
    if table.num_rows != len(manifest):
        raise DamagedError(f"{path} has {table.num_rows} rows, the manifest {len(manifest)}")
    place = manifest.table.column_names.index("split")
    return Manifest(manifest.table.set_column(place, "split", table.column(f"split{number}")), manifest.classes)


def asked_split(ingest: Result, number: int) -> Manifest:
    """`read_split` of a number that a user has named: a dataset with one split has that one (`data.split`) alone.

    Raises:
        StorageError: the dataset has no such split.
        DamagedError: as `read_split`.
    """
    if not split_numbers(ingest.folder) and number != ingest.record.config.get("data", {}).get("split", 1):
        raise StorageError(f"the dataset has no official split {number}, but one division alone; leave the number out")
    return read_split(ingest.folder, number)


def write_split(folder: Path, number: int, path: Path) -> Path:
    """`path`, written as the manifest of split `number`; the manifest's own path where that is the same."""
    manifest = Ingested(folder).manifest()
    chosen = read_split(folder, number)
    if chosen.table.equals(manifest.table):
        return Ingested(folder).manifest_path
    table = chosen.table.replace_schema_metadata(manifest.table.schema.metadata)
    write_table(path, table)
    return path
