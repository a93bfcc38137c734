"""The encoder as a graph in a file: runs with torch alone, without this package."""

import os
from pathlib import Path

import torch

from mscl.models.encoders import VideoEncoder
from storage.atomic import publish, staged_path


def save_graph(encoder: VideoEncoder, path: Path, *, frames: int = 8, crop_px: int = 112) -> Path:
    """Write `encoder` in eval mode as a `torch.export` archive (`.pt2`) for any batch of clips of this size.

    `torch.export.load(path).module()(clips_B3THW)` gives features (B, C). Input: RGB 0..1 with ImageNet's mean and
    standard deviation taken off.
    """
    clips_B3THW = torch.zeros(2, 3, frames, crop_px, crop_px)
    graph = torch.export.export(encoder.eval(), (clips_B3THW,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = staged_path(path).with_suffix(".pt2")  # torch warns of any other ending
    try:
        torch.export.save(graph, os.fspath(staged))
        publish(staged, path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    return path
