"""Features of segments with their names and labels, and the tokens behind them, as Zarr groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import DamagedError, StorageError
from storage.zarr_files import open_group, write_group

_ROWS_PER_CHUNK = 1024
_TOKENS_CHUNK_NBYTES = 4 << 20


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


def write_tokens(folder: Path, *, ids: Sequence[str], tokens_SND: npt.NDArray[np.float16]) -> dict[str, str]:
    """Write the N tokens of each segment; returns digests by path relative to `folder.parent`.

    Raises:
        StorageError: lengths that differ, or NaN.
    """
    if tokens_SND.ndim != 3 or len(tokens_SND) != len(ids):
        raise StorageError(f"{len(ids)} ids, but tokens of shape {tokens_SND.shape}, expected (S, N, D)")
    if not np.isfinite(tokens_SND).all():
        raise StorageError(f"tokens for {folder} hold NaN or infinite values")
    return write_group(
        folder,
        {"ids": np.array(list(ids), dtype=object), "tokens": tokens_SND},
        chunk_rows=max(1, _TOKENS_CHUNK_NBYTES // max(1, tokens_SND[:1].nbytes)),
        dimensions={"ids": ("segment",), "tokens": ("segment", "token", "d")},
        attributes={},
    )


def read_tokens(folder: Path, *, ids: Sequence[str]) -> npt.NDArray[np.float16]:
    """Tokens (S, N, D) of the segments `ids`, which are all that `folder` has.

    Raises:
        DamagedError: missing, damaged, incomplete, or of other segments.
    """
    group = open_group(Path(folder))
    try:
        found, tokens = [str(name) for name in group["ids"][...]], np.asarray(group["tokens"][...], np.float16)
    except (KeyError, RuntimeError, ValueError, OSError) as error:
        raise DamagedError(f"cannot read tokens in {folder}: {error}") from error
    if found != list(ids):
        raise DamagedError(f"tokens in {folder} are of {len(found)} other segments than the {len(ids)} asked for")
    if np.isnan(tokens).any():
        raise DamagedError(f"tokens in {folder} are incomplete: a chunk is missing")
    return tokens
