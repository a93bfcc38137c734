"""Zarr v3 metadata and small groups, written so that every file appears whole or not at all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.atomic import write_atomic
from storage.errors import DamagedError
from storage.json_files import JsonObject, read_json_object, write_json
from storage.shards import pack_shard, with_crc32c, without_crc32c

BYTES: JsonObject = {"name": "bytes", "configuration": {"endian": "little"}}
BYTES_8BIT: JsonObject = {"name": "bytes"}
CRC32C: JsonObject = {"name": "crc32c"}


def array_metadata(
    shape: Sequence[int],
    *,
    chunk_shape: Sequence[int],
    dtype: str,
    fill: int | float | str,
    codecs: Sequence[JsonObject],
    dimensions: Sequence[str],
    attributes: Mapping[str, Any] | None = None,
) -> JsonObject:
    """Content of the `zarr.json` of an array; chunk keys `c.0.0`, `fill` "NaN" for a float NaN."""
    return {
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk_shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": fill,
        "codecs": list(codecs),
        "dimension_names": list(dimensions),
        "attributes": dict(attributes or {}),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def zstd_codec(level: int) -> JsonObject:
    """zstd with checksum. The level is for writers: readers need not know it."""
    return {"name": "zstd", "configuration": {"level": level, "checksum": True}}


def sharding(inner_shape: Sequence[int], codecs: Sequence[JsonObject]) -> JsonObject:
    """The sharding codec with chunks of `inner_shape`, index at the end."""
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": list(inner_shape),
            "codecs": list(codecs),
            "index_codecs": [BYTES, CRC32C],
            "index_location": "end",
        },
    }


def write_group_metadata(folder: Path, attributes: Mapping[str, Any]) -> str:
    """Write the `zarr.json` of a group with `attributes`; returns its sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_json(folder / "zarr.json", {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"})


def group_attributes(folder: Path) -> JsonObject:
    """Attributes of the group in `folder`; DamagedError where its `zarr.json` is missing or no group's."""
    path = folder / "zarr.json"
    metadata = read_json_object(path)
    if metadata.get("node_type") != "group" or not isinstance(metadata.get("attributes"), dict):
        raise DamagedError(f"{path} does not describe a Zarr v3 group with attributes")
    attributes: JsonObject = metadata["attributes"]
    return attributes


def write_vector(folder: Path, name: str, values_N: npt.NDArray[np.int32]) -> dict[str, str]:
    """Write int32 array `name` as one uncompressed chunk with a checksum, so that it is read without zarr.

    Returns:
        digests by path relative to `folder`.
    """
    (folder / name).mkdir(parents=True, exist_ok=True)
    length = max(len(values_N), 1)
    metadata = array_metadata(
        [len(values_N)], chunk_shape=[length], dtype="int32", fill=0, codecs=[BYTES, CRC32C], dimensions=["segment"]
    )
    padded = np.zeros(length, "<i4")
    padded[: len(values_N)] = values_N
    return {
        f"{name}/c.0": write_atomic(folder / name / "c.0", with_crc32c(padded.tobytes())),
        f"{name}/zarr.json": write_json(folder / name / "zarr.json", metadata),
    }


def read_vector(folder: Path, name: str, length: int) -> npt.NDArray[np.int32]:
    """The `length` values that `write_vector` wrote, checksum checked."""
    path = folder / name / "c.0"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"cannot read {path}: {error.strerror or error}; was the store finalised?") from error
    content = np.frombuffer(without_crc32c(memoryview(data), where=str(path)), dtype="<i4")
    if len(content) < length:
        raise DamagedError(f"{path} holds {len(content)} values, expected {length}")
    return content[:length].astype(np.int32)


ROWS_PER_SHARD = 4096


def write_rows(folder: Path, name: str, rows_NM: npt.NDArray[np.float32]) -> dict[str, str]:
    """Write float32 array `name` (segment, field), one checksummed chunk a row, ROWS_PER_SHARD rows a file.

    All-NaN rows are not stored: NaN is the fill value.

    Returns:
        digests by path relative to `folder`.
    """
    (folder / name).mkdir(parents=True, exist_ok=True)
    num_rows, width = rows_NM.shape
    metadata = array_metadata(
        [num_rows, width],
        chunk_shape=[ROWS_PER_SHARD, width],
        dtype="float32",
        fill="NaN",
        codecs=[sharding([1, width], [BYTES, CRC32C])],
        dimensions=["segment", "field"],
    )
    digests: dict[str, str] = {}
    for shard, start in enumerate(range(0, num_rows, ROWS_PER_SHARD)):
        block = rows_NM[start : start + ROWS_PER_SHARD]
        chunks = [None if np.isnan(row).all() else with_crc32c(row.astype("<f4").tobytes()) for row in block]
        chunks += [None] * (ROWS_PER_SHARD - len(chunks))
        key = f"{name}/c.{shard}.0"
        digests[key] = write_atomic(folder / key, pack_shard(chunks))
    digests[f"{name}/zarr.json"] = write_json(folder / name / "zarr.json", metadata)
    return digests


def write_group(
    folder: Path,
    arrays: Mapping[str, npt.NDArray[Any]],
    *,
    chunk_rows: int,
    dimensions: Mapping[str, Sequence[str]],
    attributes: Mapping[str, Any],
) -> dict[str, str]:
    """Write a Zarr v3 group of whole arrays: zstd with checksum, `chunk_rows` rows a chunk, NaN or 0 or "" as fill.

    The group's own metadata comes last: a group that opens is complete.

    Returns:
        digests by path relative to `folder.parent`.
    """
    import zarr
    from zarr.codecs import ZstdCodec
    from zarr.core.buffer import Buffer

    files: dict[str, Buffer] = {}
    root = zarr.create_group(zarr.storage.MemoryStore(files), zarr_format=3)
    for name, values in arrays.items():
        is_float = np.issubdtype(values.dtype, np.floating)
        is_text = values.dtype.kind in "OUT"
        array = root.create_array(
            name,
            shape=values.shape,
            dtype="string" if is_text else values.dtype,
            chunks=(max(min(chunk_rows, values.shape[0]), 1), *(max(n, 1) for n in values.shape[1:])),
            compressors=ZstdCodec(level=1, checksum=True),
            fill_value="" if is_text else float("nan") if is_float else 0,
            chunk_key_encoding={"name": "default", "separator": "."},
            dimension_names=list(dimensions[name]),
        )
        if values.size:
            array[...] = values
    digests: dict[str, str] = {}
    for key in sorted(files):
        if key != "zarr.json":
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            digests[f"{folder.name}/{key}"] = write_atomic(folder / key, files[key].to_bytes())
    digests[f"{folder.name}/zarr.json"] = write_group_metadata(folder, attributes)
    return digests


def is_complete_group(folder: Path) -> bool:
    """Whether `write_group` came to its end in `folder`; a kill leaves a folder without the group's own metadata."""
    return (folder / "zarr.json").is_file()


def open_group(folder: Path) -> Any:
    """The Zarr group in `folder`, read-only, by zarr-python; DamagedError where there is none."""
    import zarr

    group_attributes(folder)
    return zarr.open_group(folder, mode="r", zarr_format=3)
