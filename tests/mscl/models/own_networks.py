"""Networks as a user writes them, for `module:function`."""

from collections.abc import Callable

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


class Odd(Means):
    """Gives what `give` makes of the clips."""

    def __init__(self, give: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.give = give

    def forward(self, x_B3THW: Tensor) -> Tensor:
        return self.give(x_B3THW)


def a_row_a_frame() -> nn.Module:
    return Odd(lambda x: x.mean(dim=(3, 4)).transpose(1, 2).flatten(0, 1))


def one_row() -> nn.Module:
    return Odd(lambda x: x.mean(dim=(0, 2, 3, 4))[None])


def whole_numbers() -> nn.Module:
    return Odd(lambda x: x.mean(dim=(2, 3, 4)).long())


class Colours(nn.Module):
    """Mean colours: nothing in it is learnt."""

    contract = Means.contract

    def forward(self, x_B3THW: Tensor) -> Tensor:
        return x_B3THW.mean(dim=(2, 3, 4))


def colours() -> nn.Module:
    return Colours()


class Learnt(Means):
    """What has its weights from a file: a layer of PyTorch, a norm with its statistics, a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(6)
        self.place = nn.Parameter(torch.empty(1, 6, 4, 1, 1))
        self.register_buffer("table", torch.arange(4.0))
        draws = torch.Generator().manual_seed(5)
        for tensor in (self.layer.weight, self.norm.weight, self.norm.running_mean, self.place):
            assert tensor is not None
            tensor.data.normal_(generator=draws)

    def forward(self, x_B3THW: Tensor) -> Tensor:
        return self.norm(self.layer(x_B3THW)) + self.place


def learnt() -> nn.Module:
    return Learnt()


_KEPT = Learnt()


def kept() -> nn.Module:
    """The same weights at every call."""
    return _KEPT
