"""Layers of video networks in the form in which a GPU's libraries are quick: as layers over pictures.

A clip (B, C, T, H, W), channels last, is B*T pictures (B*T, C, H, W), channels last, without a copy, and a row of
channels for every place. What does not look across time is the same on either; parameters keep the names and the five
dimensions of the layers they stand for, so state dicts are torchvision's. On a CPU, where the general layers are as
quick or quicker, they run as they are.
"""

import importlib.util
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Added = Callable[[], Tensor]
"""Makes what is added, when that is wanted: the order in which a CPU does things decides how it adds up gradients, and
the same seed is to give the same weights."""
_FEW_CHANNELS = 3
_HAS_TRITON = importlib.util.find_spec("triton") is not None


def pictures(x_BCTHW: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B*T, C, H, W)."""
    return x_BCTHW.transpose(1, 2).flatten(0, 1)


def clips(x_NCHW: Tensor, batch: int) -> Tensor:
    """(B*T, C, H, W) -> (B, C, T, H, W)."""
    if x_NCHW.shape[0] == batch:  # strides as of clips; with others PyTorch's batch norm takes them for both formats
        return x_NCHW.unsqueeze(2)
    x_BCTHW: Tensor = x_NCHW.unflatten(0, (batch, -1)).transpose(1, 2)
    return x_BCTHW


class PictureConv(nn.Conv3d):
    """`nn.Conv3d` with kernel 1 in time: a convolution of each frame. A stride in time leaves frames out."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if input.device.type == "cpu" else self.as_pictures(input)

    def as_pictures(self, input: Tensor) -> Tensor:
        """The same numbers, by a GPU's way."""
        frames = input[:, :, :: self.stride[0]]
        y_NCHW = F.conv2d(
            pictures(frames), self.weight.squeeze(2), self.bias, self.stride[1:], self.padding_px, self.dilation[1:]
        )
        return clips(y_NCHW, input.shape[0])

    @property
    def padding_px(self) -> tuple[int, int]:
        """Rows and columns of zeros on every side."""
        return int(self.padding[1]), int(self.padding[2])


class TimeConv(nn.Conv3d):
    """`nn.Conv3d` with kernel k x 1 x 1 and stride 1: a convolution of pictures T high and H*W wide."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if input.device.type == "cpu" else self.as_pictures(input)

    def as_pictures(self, input: Tensor) -> Tensor:
        """The same numbers, by a GPU's way."""
        y_BCTN = F.conv2d(input.flatten(3), self.weight.squeeze(4), self.bias, padding=(int(self.padding[0]), 0))
        y_BCTHW: Tensor = y_BCTN.unflatten(3, input.shape[3:])
        return y_BCTHW


class UnfoldedConv(nn.Conv3d):
    """`nn.Conv3d` of few channels: a convolution of pictures that hold every frame that the kernel sees as channels.

    For the stem, three channels wide, whose 3D form is four times as slow (docs/gpu.md).
    """

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if input.device.type == "cpu" else self.as_pictures(input)

    def as_pictures(self, input: Tensor) -> Tensor:
        """The same numbers, by a GPU's way."""
        if input.is_cuda and torch.is_autocast_enabled("cuda"):
            input = input.to(torch.get_autocast_dtype("cuda"))  # before it is copied k times
        times, around = input.shape[2], int(self.padding[0])
        padded_BTHWC = F.pad(input.permute(0, 2, 3, 4, 1), (0, 0, 0, 0, 0, 0, around, around))
        last = times + 2 * around - self.kernel_size[0] + 1
        seen = [padded_BTHWC[:, tap : tap + last : self.stride[0]] for tap in range(self.kernel_size[0])]
        pictures_NCHW = torch.cat(seen, dim=-1).flatten(0, 1).permute(0, 3, 1, 2)
        weight = self.weight.transpose(1, 2).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        padding_px = int(self.padding[1]), int(self.padding[2])
        y_NCHW = F.conv2d(pictures_NCHW, weight, self.bias, self.stride[1:], padding_px)
        return clips(y_NCHW, input.shape[0])


class ClipBatchNorm(nn.BatchNorm3d):
    """`nn.BatchNorm3d`, with what follows it in a residual network: on a GPU in training one pass does it all."""

    def forward(self, input: Tensor, added: Added | None = None, *, rectified: bool = False) -> Tensor:
        """relu(norm(input) + added); both are optional."""
        if input.is_cuda and self.training and _HAS_TRITON and input.numel() > input.shape[1]:
            return self.in_one_pass(input, None if added is None else added(), rectified=rectified)
        return with_rest(super().forward(input), added, rectified=rectified)

    def in_one_pass(self, input: Tensor, added: Tensor | None, *, rectified: bool) -> Tensor:
        """The same numbers, by a GPU's way."""
        from mscl.models.batch_norm_cuda import TrainingNorm  # Triton, for which a CPU has no use

        statistics = self.running_mean, self.running_var, self.num_batches_tracked
        y_BCTHW: Tensor = TrainingNorm.apply(
            input, added, self.weight, self.bias, *statistics, self.momentum, self.eps, rectified
        )
        return y_BCTHW


def with_rest(y_BCTHW: Tensor, added: Added | None, *, rectified: bool) -> Tensor:
    """relu(y + added), in place; both are optional."""
    if added is not None:
        y_BCTHW += added()
    return F.relu_(y_BCTHW) if rectified else y_BCTHW


class PicturePool(nn.MaxPool3d):
    """`nn.MaxPool3d` with kernel and stride 1 in time."""

    kernel_size: tuple[int, int, int]
    stride: tuple[int, int, int]
    padding: tuple[int, int, int]

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if input.device.type == "cpu" else self.as_pictures(input)

    def as_pictures(self, input: Tensor) -> Tensor:
        """The same numbers, by a GPU's way."""
        y_NCHW = F.max_pool2d(pictures(input), self.kernel_size[1:], self.stride[1:], self.padding[1:])
        return clips(y_NCHW, input.shape[0])


def in_picture_form(network: nn.Module) -> None:
    """Put the layers above in place of the plain ones they equal, parameters and buffers taken over."""
    for module in network.modules():
        for name, layer in module.named_children():
            replacement = _picture_form(layer)
            if replacement is not None:
                for kept, value in [*layer.named_parameters(), *layer.named_buffers()]:
                    setattr(replacement, kept, value)
                setattr(module, name, replacement.train(layer.training))


def _picture_form(layer: nn.Module) -> nn.Module | None:
    with torch.device("meta"):  # no memory, and no draw of initial weights
        if type(layer) is nn.BatchNorm3d:
            return ClipBatchNorm(layer.num_features, eps=layer.eps, momentum=layer.momentum)
        if type(layer) is nn.MaxPool3d and (_in_time(layer.kernel_size), _in_time(layer.stride)) == (1, 1):
            return PicturePool(layer.kernel_size, layer.stride, layer.padding)
        if not isinstance(layer, nn.Conv3d) or isinstance(layer, PictureConv | TimeConv | UnfoldedConv):
            return None
        form: type[nn.Conv3d]
        if layer.kernel_size[0] == 1 and layer.padding[0] == 0:
            form = PictureConv
        elif layer.kernel_size[1:] == (1, 1) and layer.stride == (1, 1, 1):
            form = TimeConv
        elif layer.in_channels <= _FEW_CHANNELS and layer.kernel_size[0] > 1:
            form = UnfoldedConv
        else:
            return None
        # To the type checker a layer may have tuples of any length.
        return form(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            bias=layer.bias is not None,
        )


def _in_time(size: int | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else size[0]
