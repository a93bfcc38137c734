"""Residual networks over videos (Tran et al., "A closer look at spatiotemporal convolutions", CVPR 2018).

Tensors are named as torchvision's `VideoResNet` names them, and the same seed draws the same weights. Its classes are
not built upon, for two reasons: their widths are fixed, and importing torchvision loads the compiler of PyTorch, which
takes longer than all else that a command imports (`python -m benchmarks.imports`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mscl.models.pictures import Added, ClipBatchNorm, in_picture_form, with_rest

STAGE_WIDTHS = (1, 2, 4, 8)
"""Channels of the four stages, in widths of the first."""
_CLASSIFIER_INPUTS = 512


@dataclass(frozen=True)
class Kernels:
    """How the blocks of one stage look across time."""

    time: int
    """Kernel along time of the 3x3 convolutions; 1: each frame for itself, and no stride along time either."""
    first_time: int = 1
    """Kernel along time of a bottleneck's first convolution."""

    def conv(self, inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv3d:
        """The stage's 3x3 convolution."""
        padding = (self.time // 2, 1, 1)
        return nn.Conv3d(inputs, outputs, (self.time, 3, 3), self.strides(stride), padding, bias=False)

    def strides(self, stride: int) -> tuple[int, int, int]:
        """Strides along time, rows and columns."""
        return (stride if self.time > 1 else 1), stride, stride


class NormedConv(nn.Sequential):
    """A convolution, its batch norm and a rectifier; what is appended comes after them."""

    def __init__(self, conv: nn.Conv3d, *, rectified: bool = True) -> None:
        super().__init__(conv, nn.BatchNorm3d(conv.out_channels))
        self.rectified = rectified

    def forward(self, input: Tensor, added: Added | None = None) -> Tensor:
        """relu(norm(conv(input)) + added), if anything is added."""
        conv, norm, *after = self
        y_BCTHW: Tensor = conv(input)
        if isinstance(norm, ClipBatchNorm):
            y_BCTHW = norm(y_BCTHW, added, rectified=self.rectified)
        else:  # cards that train together may share their statistics by a layer of PyTorch's own
            y_BCTHW = with_rest(norm(y_BCTHW), added, rectified=self.rectified)
        for layer in after:
            y_BCTHW = layer(y_BCTHW)
        return y_BCTHW


class Block(nn.Module):
    """A residual path beside a shortcut, which is projected where the shapes differ."""

    expansion: ClassVar[int]
    """Channels that come out for each channel inside."""
    downsample: NormedConv | None

    def __init__(self, inputs: int, channels: int, kernels: Kernels, *, stride: int) -> None:
        super().__init__()
        outputs = channels * self.expansion
        self.build_path(inputs, channels, kernels, stride=stride)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            projection = nn.Conv3d(inputs, outputs, 1, kernels.strides(stride), bias=False)
            self.downsample = NormedConv(projection, rectified=False)

    def build_path(self, inputs: int, channels: int, kernels: Kernels, *, stride: int) -> None:
        """Make the layers of the residual path."""
        raise NotImplementedError

    def path(self, x_BCTHW: Tensor, shortcut: Added) -> Tensor:
        """Residual and shortcut, added up and rectified."""
        raise NotImplementedError

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """The block's output."""
        return self.path(x_BCTHW, lambda: x_BCTHW if self.downsample is None else self.downsample(x_BCTHW))


class BasicBlock(Block):
    """Two 3x3 convolutions."""

    expansion = 1

    def build_path(self, inputs: int, channels: int, kernels: Kernels, *, stride: int) -> None:
        """Make the layers of the residual path."""
        self.conv1 = NormedConv(kernels.conv(inputs, channels, stride=stride))
        self.conv2 = NormedConv(kernels.conv(channels, channels))

    def path(self, x_BCTHW: Tensor, shortcut: Added) -> Tensor:
        """Residual and shortcut, added up and rectified."""
        y_BCTHW: Tensor = self.conv2(self.conv1(x_BCTHW), shortcut)
        return y_BCTHW


class Bottleneck(Block):
    """1x1 to fewer channels, 3x3 with the stride, 1x1 to four times as many."""

    expansion = 4

    def build_path(self, inputs: int, channels: int, kernels: Kernels, *, stride: int) -> None:
        """Make the layers of the residual path."""
        first, k = nn.Conv3d(inputs, channels, 1, bias=False), kernels.first_time
        if k > 1:  # in place of the other, whose draws stay: a seed's weights are what they always were
            first = nn.Conv3d(inputs, channels, (k, 1, 1), padding=(k // 2, 0, 0), bias=False)
        self.conv1 = NormedConv(first)
        self.conv2 = NormedConv(kernels.conv(channels, channels, stride=stride))
        self.conv3 = NormedConv(nn.Conv3d(channels, channels * self.expansion, 1, bias=False))

    def path(self, x_BCTHW: Tensor, shortcut: Added) -> Tensor:
        """Residual and shortcut, added up and rectified."""
        y_BCTHW: Tensor = self.conv3(self.conv2(self.conv1(x_BCTHW)), shortcut)
        return y_BCTHW


@dataclass(frozen=True)
class Architecture:
    """A network but for its width."""

    block: type[Block]
    blocks: tuple[int, int, int, int]
    """Their number in each of the four stages."""
    kernels: tuple[Kernels, Kernels, Kernels, Kernels]
    """Of each stage."""
    stem_kernel: tuple[int, int, int]
    """Of the first convolution, which reads RGB or colour-coded flow: time, rows, columns."""
    stem_stride: tuple[int, int, int]
    pooled: bool = False
    """Whether max pooling with stride 2 follows the first convolution."""

    def stem(self, width: int) -> nn.Sequential:
        """What comes before the stages."""
        padding = (self.stem_kernel[0] // 2, self.stem_kernel[1] // 2, self.stem_kernel[2] // 2)
        layers = NormedConv(nn.Conv3d(3, width, self.stem_kernel, self.stem_stride, padding, bias=False))
        if self.pooled:
            layers.append(nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)))
        return layers


class VideoResNet(nn.Module):
    """Stem and four stages of blocks, (B, 3, T, H, W) -> feature maps; no classifier.

    Args:
        architecture: all but the width.
        width: channels inside the blocks of the first stage; the others have 2, 4 and 8 times as many.
    """

    def __init__(self, architecture: Architecture, *, width: int) -> None:
        super().__init__()
        block = architecture.block
        self.stem = architecture.stem(width)
        inputs, stages = width, []
        for times, kernels, blocks in zip(STAGE_WIDTHS, architecture.kernels, architecture.blocks, strict=True):
            stage = nn.Sequential()
            for number in range(blocks):
                stage.append(block(inputs, width * times, kernels, stride=2 if number == 0 and times > 1 else 1))
                inputs = width * times * block.expansion
            stages.append(stage)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.pyramid_dims = tuple(width * times * block.expansion for times in STAGE_WIDTHS[1:])
        """Channels of L2, L3 and L4."""
        self._draw_weights(_CLASSIFIER_INPUTS * block.expansion)
        in_picture_form(self)

    def pyramid(self, x_B3THW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Feature maps L2, L3 and L4, each (B, C, T, H, W)."""
        l2 = self.layer2(self.layer1(self.stem(x_B3THW)))
        l3 = self.layer3(l2)
        return l2, l3, self.layer4(l3)

    def _draw_weights(self, classifier_inputs: int) -> None:
        """Draw them as torchvision does (He et al., "Delving deep into rectifiers", ICCV 2015).

        It draws a classifier's weights, too, so that is done here as well and thrown away: from the same seed come the
        same networks. A network without memory yet (on "meta") is about to be given its weights; drawing there would
        load torch's compiler, which takes longer than all else that reading an encoder does.
        """
        if next(self.parameters()).is_meta:
            return
        classifier = nn.Linear(classifier_inputs, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(classifier.weight, 0, 0.01)
