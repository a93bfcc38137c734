"""Official splits beside a manifest."""

from pathlib import Path

import pytest

from storage.errors import DamagedError, StorageError
from storage.layout import Ingested
from storage.manifest import SegmentRow, read_manifest, write_manifest
from storage.splits import read_split, split_numbers, write_split, write_splits


def _folder(path: Path) -> Path:
    rows = [SegmentRow(segment_id=f"{name}#0", video=name, class_name="golf", label=0, split="train") for name in "abc"]
    write_manifest(Ingested(path).manifest_path, rows, classes=["golf"])
    write_splits(path, {1: ["train", "train", "train"], 3: ["test", "unused", "train"]})
    return path


def test_a_split_changes_that_column_alone(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    assert split_numbers(folder) == (1, 3)
    manifest = read_split(folder, 3)
    assert manifest.column("split").tolist() == ["test", "unused", "train"]
    assert manifest.classes == ["golf"] and manifest.column("video").tolist() == ["a", "b", "c"]


def test_a_written_split_is_a_manifest_and_the_first_is_the_one_that_is_there(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    assert write_split(folder, 1, tmp_path / "one.parquet") == Ingested(folder).manifest_path
    third = read_manifest(write_split(folder, 3, tmp_path / "three.parquet"))
    assert third.column("split").tolist() == ["test", "unused", "train"] and third.classes == ["golf"]


def test_a_split_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no split 2; its official splits are 1, 3"):
        read_split(_folder(tmp_path), 2)


def test_a_dataset_with_one_split_is_every_split(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (Ingested(folder).splits_path).unlink()
    assert split_numbers(folder) == ()
    assert read_split(folder, 2).column("split").tolist() == ["train"] * 3


def test_splits_of_another_dataset_are_damage(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    write_splits(folder, {1: ["train"], 2: ["test"]})
    with pytest.raises(DamagedError, match="1 rows, the manifest 3"):
        read_split(folder, 2)
