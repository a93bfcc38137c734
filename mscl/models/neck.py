"""Neck on the RGB pyramid (METHOD 1.5): a feature pyramid network, then scale-equalising pyramid convolutions.

Lin et al., "Feature pyramid networks", CVPR 2017; Wang et al., "Scale-equalizing pyramid convolution", CVPR 2020,
here in three dimensions. Submodules are named as in the released checkpoints.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mscl.models.pictures import PictureConv
from mscl.models.upsampling import upsampled

Triple = tuple[int, int, int]


class MotionNeck(nn.Module):
    """[L2, L3, L4] -> levels of one width, each seeing its neighbours.

    Args:
        in_channels: channels of the pyramid, finest level first.
        out_channels: channels of every level that comes out.
        num_pconv: pyramid convolutions one after the other (2 for R18, 1 for R50).
        stride: how much coarser a level is than the one below, in T, H, W ((2, 2, 2) for R18, (1, 2, 2) for R50).
    """

    def __init__(
        self, in_channels: Sequence[int], out_channels: int, *, num_pconv: int = 2, stride: Triple = (2, 2, 2)
    ) -> None:
        super().__init__()
        self.tpn = _PyramidPair(
            _FeaturePyramid(in_channels, out_channels), _EqualisedPyramid(out_channels, num_pconv, stride)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, pyramid: Sequence[Tensor], *, levels: int | None = None) -> list[Tensor]:
        """The `levels` finest levels (None: all), each (B, out_channels, T, H, W) of its input's T, H, W.

        Training reads level 0 alone; coarser levels that nobody asked for are not computed.
        """
        levels = len(pyramid) if levels is None else levels
        maps: list[Tensor] = self.tpn.fpn(pyramid, self._read_for(levels))
        outputs: list[Tensor] = self.tpn.sepc(maps, levels)
        return outputs

    def _read_for(self, levels: int) -> int:
        """Levels of the feature pyramid that the finest `levels` are made of: each convolution looks one level up."""
        return min(len(self.tpn.fpn.fpn_convs), levels + len(self.tpn.sepc.Pconvs))

    def freeze_unread(self) -> None:
        """If level 0 alone is read, what makes the levels that it does not see gets no gradient.

        It has nothing below it, so the last `down` convolution; and, with one pyramid convolution, the feature
        pyramid's output two levels up. Said outright, because distributed training waits for the gradient of every
        parameter that wants one.
        """
        last = self.tpn.sepc.Pconvs[-1]
        assert isinstance(last, _PyramidConv)
        last.Pconv[_DOWN].requires_grad_(False)
        self.tpn.fpn.fpn_convs[self._read_for(1) :].requires_grad_(False)


_UP, _SAME, _DOWN = range(3)
"""Places of a pyramid convolution's three kernels."""


class _PyramidPair(nn.Module):
    """Holds the two parts under their published names."""

    def __init__(self, fpn: "_FeaturePyramid", sepc: "_EqualisedPyramid") -> None:
        super().__init__()
        self.fpn = fpn
        self.sepc = sepc


class _FeaturePyramid(nn.Module):
    """Lateral 1x1x1, top-down nearest upsampling added, output 1x3x3."""

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(_named_conv(PictureConv(c, out_channels, 1)) for c in in_channels)
        self.fpn_convs = nn.ModuleList(
            _named_conv(PictureConv(out_channels, out_channels, (1, 3, 3), padding=(0, 1, 1))) for _ in in_channels
        )

    def forward(self, pyramid: Sequence[Tensor], levels: int) -> list[Tensor]:
        maps: list[Tensor] = [conv(x) for conv, x in zip(self.lateral_convs, pyramid, strict=True)]
        for level in range(len(maps) - 2, -1, -1):
            maps[level] = maps[level] + upsampled(maps[level + 1], maps[level].shape[2:], mode="nearest")
        return [conv(x) for conv, x in zip(self.fpn_convs[:levels], maps[:levels], strict=True)]


class _EqualisedPyramid(nn.Module):
    """Pyramid convolutions one after the other, ReLU after each."""

    def __init__(self, channels: int, num_pconv: int, stride: Triple) -> None:
        super().__init__()
        self.Pconvs = nn.ModuleList(_PyramidConv(channels, stride) for _ in range(num_pconv))

    def forward(self, maps: list[Tensor], levels: int) -> list[Tensor]:
        for place, pconv in enumerate(self.Pconvs):
            # Each later convolution looks one level up.
            needed = min(len(maps), levels + len(self.Pconvs) - 1 - place)
            maps = [F.relu(x) for x in pconv(maps, needed)]
        return maps


class _PyramidConv(nn.Module):
    """y_l = same(x_l) + down(x_{l-1}) + trilinear_up(up(x_{l+1})), the three kernels shared by all levels."""

    def __init__(self, channels: int, stride: Triple) -> None:
        super().__init__()
        self.Pconv = nn.ModuleList(
            nn.Conv3d(channels, channels, 3, stride=stride if kernel == _DOWN else 1, padding=1)
            for kernel in (_UP, _SAME, _DOWN)
        )

    def forward(self, maps: list[Tensor], levels: int) -> list[Tensor]:
        outputs: list[Tensor] = []
        for level, x in enumerate(maps[:levels]):
            y = self.Pconv[_SAME](x)
            if level > 0:
                y = y + self.Pconv[_DOWN](maps[level - 1])
            if level + 1 < len(maps):
                y = y + upsampled(self.Pconv[_UP](maps[level + 1]), y.shape[2:], mode="linear")
            outputs.append(y)
        return outputs


def _named_conv(conv: nn.Conv3d) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=conv))
