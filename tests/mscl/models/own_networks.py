"""Networks as a user writes them, for `module:function`."""

import torch
from torch import Tensor, nn

import mscl


class Means(nn.Module):
    """Maps of a small convolution."""

    contract = mscl.Contract.of_clips(length=4, step_frames=1, crop_px=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(3, 6, 3, padding=1)

    def forward(self, x_B3THW: Tensor) -> Tensor:
        return torch.relu(self.layer(x_B3THW))


def means() -> nn.Module:
    return Means()


def no_network() -> int:
    return 3
