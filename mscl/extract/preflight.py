"""What would stop extraction, said before videos are decoded: weights that are not there, a disk that is too small."""

from __future__ import annotations

import shutil
from pathlib import Path

from kernels.errors import KernelInputError
from mscl.errors import ConfigError, DataError
from mscl.extract.config import FlowConfig
from storage.garbage import bytes_on_disk
from storage.layout import Ingested
from storage.result_folder import Result
from storage.user_paths import user_path

_LEAST_BYTES_PER_PX = 0.1
"""Of a field and its frame together. Videos that hardly move take twice that; noisy ones six times (docs/scale.md)."""


def check_weights(flow: FlowConfig) -> None:
    """Refuse a weights file that is not there, and a method of others that cannot be had.

    Raises:
        ConfigError: names the setting and the file.
    """
    if flow.method.startswith("raft") and flow.raft_weights and not user_path(flow.raft_weights).is_file():
        raise ConfigError(f"flow.raft_weights {flow.raft_weights} does not exist, or is no file; check the path")
    if flow.is_plugin:
        import torch

        from kernels.flow_plugins import load_plugin

        try:
            load_plugin(flow.method, flow.weights or None, torch.device("cpu"))
        except KernelInputError as error:
            raise ConfigError(f"flow.method: {error}") from error


def check_disk(flow: FlowConfig, ingest: Result, extract_folder: Path) -> None:
    """Refuse to begin where even the smallest result that such videos have would not fit on the disk.

    Args:
        extract_folder: of the result to come; what an earlier run left in it counts as there.

    Raises:
        DataError: names both sizes and the folder.
    """
    from mscl.extract.shard import num_fields
    from mscl.video.stored_size import stored_size

    manifest = Ingested(ingest.folder).manifest().ok()
    columns = zip(*(manifest.column(name).tolist() for name in ("num_frames", "height", "width")), strict=True)
    pixels = 0
    for num_frames, height, width in columns:
        stored_height, stored_width = stored_size(height, width, flow.store_short_side)
        pixels += num_fields(num_frames, flow) * stored_height * stored_width
    needed = int(_LEAST_BYTES_PER_PX * pixels)
    free = shutil.disk_usage(ingest.folder).free
    there = bytes_on_disk(extract_folder) if extract_folder.is_dir() else 0
    if needed > free + there:
        raise DataError(
            f"extract needs at least {needed / 1e6:,.1f} MB for these videos, and {free / 1e6:,.1f} MB are free in "
            f"{ingest.folder.parents[1]}; free some, give another --workspace, or lower flow.store_short_side"
        )
