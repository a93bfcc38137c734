"""From stored frames to what the networks see: float clips with ImageNet's mean and standard deviation."""

import torch
from torch import Tensor

from mscl.video.config import IMAGENET_MEAN, IMAGENET_STD


def standardise_(clip: Tensor) -> Tensor:
    """(x - mean) / std of ImageNet per channel of (B, 3, T, H, W), in place."""
    for channel, mean, std in zip(clip.unbind(1), IMAGENET_MEAN, IMAGENET_STD, strict=True):
        channel.sub_(mean).div_(std)
    return clip


def planar(clip_BTHW3: Tensor) -> Tensor:
    """uint8 (B, T, H, W, 3) -> float32 (B, 3, T, H, W) in [0, 1], contiguous."""
    moved = clip_BTHW3.permute(0, 4, 1, 2, 3)
    return moved.to(torch.float32, memory_format=torch.contiguous_format, copy=True).div_(255)


def normalise_rgb(clip_BTHW3: Tensor) -> Tensor:
    """uint8 (B, T, H, W, 3) -> float32 (B, 3, T, H, W), ImageNet mean and standard deviation; no augmentation."""
    return standardise_(planar(clip_BTHW3))
