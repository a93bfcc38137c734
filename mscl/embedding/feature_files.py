"""The files of a dataset's features: parts while they are computed, `<variant>.zarr` in the end.

A part is some batches of one variant, with a checksum: what a killed run has finished is not computed again, and what
is damaged is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mscl.embedding.config import EmbedConfig
from mscl.embedding.variants import VARIANTS
from mscl.errors import DataError
from storage.errors import DamagedError, StorageError

if TYPE_CHECKING:
    from storage.features import Features
    from storage.manifest import Manifest

PARTS_FOLDER = ".parts"
"""Hidden: work to resume from, not part of the result."""
_MAX_PARTS = 256

Part = dict[str, npt.NDArray[Any]]
"""`features` (B, C) of some videos and, where they are kept, their `tokens` (B, N, C) in 16 bits."""


def part_files(output: Path, variant: str, videos: int, *, at_once: int) -> list[tuple[Path, range]]:
    """File and rows of every part of a variant: whole batches of `at_once` videos, but for the last one."""
    length = at_once * -(-videos // (at_once * _MAX_PARTS))
    starts = range(0, videos, length)
    folder = output / PARTS_FOLDER / variant
    return [(folder / f"{start}.block", range(start, min(start + length, videos))) for start in starts]


def write_part(path: Path, part: Part) -> None:
    """Write a part, whole or not at all."""
    from storage.atomic import write_atomic
    from storage.blocks import pack_arrays

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, pack_arrays(part))


def read_part(path: Path, length: int) -> Part | None:
    """A part of `length` videos; None where it is not there, or not as it was written."""
    from storage.blocks import unpack_arrays

    try:
        part = unpack_arrays(path.read_bytes(), where=str(path))
    except (FileNotFoundError, DamagedError):
        return None
    return part if len(part["features"]) == length else None


def write_variants(
    manifest: "Manifest", output: Path, *, config: EmbedConfig, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Put the parts together to `output/<variant>.zarr`, remove them, and return the metrics."""
    import shutil

    from storage.features import read_features, write_features, write_tokens

    metrics: dict[str, Any] = {"videos": len(manifest)}
    for variant in VARIANTS:
        folder = output / f"{variant}.zarr"
        if not is_whole(folder):
            if not (output / PARTS_FOLDER / variant).is_dir():
                continue
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed while it wrote
            files = part_files(output, variant, len(manifest), at_once=config.videos_at_once)
            parts = [part for path, rows in files if (part := read_part(path, len(rows))) is not None]
            if len(parts) < len(files):
                raise DataError(f"parts of {folder} were damaged while others were computed; run the same again")
            ids = [str(name) for name in manifest.column("segment_id")]
            if config.tokens:
                tokens = np.concatenate([part["tokens"] for part in parts])
                write_tokens(output / tokens_name(variant), ids=ids, tokens_SND=tokens)
            write_features(
                folder,
                ids=ids,
                labels=np.asarray(manifest.column("label"), dtype=np.int64),
                split=[str(split) for split in manifest.column("split")],
                features_ND=np.concatenate([part["features"] for part in parts]),
                attributes={"variant": variant, "clips": config.clips, "classes": list(manifest.classes)},
            )
        metrics["feature_dim"] = read_features(folder).features_ND.shape[1]
        if seconds.get(variant):
            metrics[f"{variant}_videos_per_second"] = round(len(manifest) / seconds[variant], 2)
    shutil.rmtree(output / PARTS_FOLDER, ignore_errors=True)
    return metrics


def read_variants(folder: Path) -> dict[str, "Features"]:
    """Variant -> features, of those that the embed stage left, in the order of `VARIANTS`.

    Raises:
        DataError: none is there.
    """
    from storage.features import read_features

    found = {name: read_features(folder / f"{name}.zarr") for name in VARIANTS if (folder / f"{name}.zarr").exists()}
    if not found:
        raise DataError(f"no features in {folder}; run the embed stage first")
    return found


def tokens_name(variant: str) -> str:
    """Folder of a variant's tokens beside that of its features."""
    return f"{variant}.tokens.zarr"


def is_whole(folder: Path) -> bool:
    """Whether features were written there to their end."""
    from storage.features import read_features
    from storage.zarr_files import is_complete_group

    try:
        return is_complete_group(folder) and bool(read_features(folder).ids)
    except StorageError:
        return False
