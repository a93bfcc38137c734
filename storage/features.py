"""Features of segments with their names and labels, as a Zarr group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import DamagedError, StorageError
from storage.zarr_files import open_group, write_group

_ROWS_PER_CHUNK = 1024


@dataclass(frozen=True)
class Features:
    """N segments: ids, labels (-1 unknown), splits, and a feature vector of length D each."""

    ids: list[str]
    labels_N: npt.NDArray[np.int64]
    split: list[str]
    features_ND: npt.NDArray[np.float32]
    attributes: dict[str, Any]

    def __post_init__(self) -> None:
        count = len(self.ids)
        sizes = {"labels": self.labels_N.shape, "split": (len(self.split),), "features": self.features_ND.shape}
        if self.labels_N.shape != (count,) or len(self.split) != count or self.features_ND.shape[:1] != (count,):
            raise StorageError(f"{count} ids, but {sizes}")
        if self.features_ND.ndim != 2:
            raise StorageError(f"features have shape {self.features_ND.shape}, expected (N, D)")


def write_features(
    folder: Path,
    *,
    ids: Sequence[str],
    labels: Sequence[int] | npt.NDArray[np.integer[Any]],
    split: Sequence[str],
    features_ND: npt.NDArray[np.floating[Any]],
    attributes: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Write a feature group; returns digests by path relative to `folder.parent`.

    Raises:
        StorageError: lengths that differ, or NaN.
    """
    checked = Features(
        list(ids),
        np.asarray(labels, np.int64),
        list(split),
        np.asarray(features_ND, np.float32),
        dict(attributes or {}),
    )
    if not np.isfinite(checked.features_ND).all():
        raise StorageError(f"features for {folder} hold NaN or infinite values")
    return write_group(
        folder,
        {
            "ids": np.array(checked.ids, dtype=object),
            "labels": checked.labels_N,
            "split": np.array(checked.split, dtype=object),
            "features": checked.features_ND,
        },
        chunk_rows=_ROWS_PER_CHUNK,
        dimensions={"ids": ("segment",), "labels": ("segment",), "split": ("segment",), "features": ("segment", "d")},
        attributes=checked.attributes,
    )


def read_features(folder: Path) -> Features:
    """Features in `folder`.

    Raises:
        DamagedError: missing, damaged, or incomplete.
    """
    group = open_group(Path(folder))
    try:
        values = {name: group[name][...] for name in ("ids", "labels", "split", "features")}
    except (KeyError, RuntimeError, ValueError, OSError) as error:
        raise DamagedError(f"cannot read features in {folder}: {error}") from error
    if np.isnan(values["features"]).any():
        raise DamagedError(f"features in {folder} are incomplete: a chunk is missing")
    return Features(
        [str(name) for name in values["ids"]],
        values["labels"].astype(np.int64),
        [str(name) for name in values["split"]],
        values["features"].astype(np.float32),
        dict(group.attrs),
    )
