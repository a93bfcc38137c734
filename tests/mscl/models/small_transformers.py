"""Video encoders of `transformers` in a small configuration: clips of 4 frames of 16 px, 24 features."""

from typing import Any

import pytest
import torch


def small_network(kind: str, *, num_frames: int = 4) -> Any:
    """Of the real class, with random weights; `kind`: its type in a configuration; V-JEPA 2 has 4 frames."""
    transformers = pytest.importorskip("transformers", reason="extra `transformers` is not installed")
    torch.manual_seed(1)
    size = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8}
    if kind == "vjepa2":
        config = transformers.VJEPA2Config(
            **size, crop_size=16, frames_per_clip=4, mlp_ratio=2, pred_hidden_size=24, pred_num_hidden_layers=1,
            pred_num_attention_heads=2, pred_num_mask_tokens=2,
        )  # fmt: skip
        return transformers.VJEPA2Model(config).eval()
    size |= {"image_size": 16, "num_frames": num_frames, "intermediate_size": 32}
    if kind == "videomae":
        return transformers.VideoMAEModel(transformers.VideoMAEConfig(**size)).eval()
    return transformers.TimesformerModel(transformers.TimesformerConfig(**size)).eval()
