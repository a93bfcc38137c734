"""Augmentation of both views on the training device, after the workers' crops (METHOD 1.4, steps 2 and 5-7)."""

import importlib.util
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.colour import flow_to_rgb_unit
from kernels.rotation import rotate_flow
from mscl.errors import DataError
from mscl.pretrain.colour_jitter import chunk_clips, colour_jitter_, gaussian_blur_, on_device, to_grey_
from mscl.pretrain.config import AugmentConfig
from mscl.pretrain.draws import ColourDraws, sample_draws
from mscl.video.normalise import planar, standardise_
from mscl.views import RawBatch, TwoViews, View


class AugmentRGB(Protocol):
    """`augment_rgb`."""

    def __call__(self, rgb_BTHW3: Tensor, draws: ColourDraws, *, flip_B: NDArray[np.bool_]) -> Tensor: ...


class FlowToPictures(Protocol):
    """`flow_pictures`."""

    def __call__(
        self, flow_BFHW2: Tensor, *, angle_rad_B: NDArray[np.float64] | None, flip_B: NDArray[np.bool_]
    ) -> tuple[Tensor, Tensor | None]: ...


class Augment:
    """Turns a raw batch into the two views that the networks see. Without state: same batch, same views.

    Rotation is one draw per sample, shared by both views and all frames, and so is the flip unless `flip_draw` says
    otherwise (D25); colours are one draw per view.
    Flow gets neither colour augmentation nor mean and standard deviation (METHOD 1.4.6).
    """

    def __init__(self, config: AugmentConfig, *, rotation_q: bool = True, rotation_k: bool = True) -> None:
        """Rotated flow of either view can be left out; `rotated` of that view is then None."""
        self._config = config
        self._rotation_q, self._rotation_k = rotation_q, rotation_k

    @torch.no_grad()
    def __call__(self, raw: RawBatch) -> TwoViews:
        """Views on the raw batch's device, float32.

        Raises:
            DataError: the draws of `raw` belong to another clip length, or it was loaded for another routing.
        """
        length = raw.rgb_q_BTHW3.shape[1]
        draws = sample_draws(raw.draws_BD.numpy(), self._config, length=length)
        augment_rgb, flow_pictures = _kernels_of(raw.rgb_q_BTHW3.device)
        flip_q_B, flip_k_B, angle_rad_B = draws.flip_q_B, draws.flip_k_B, draws.angle_rad_B
        rgb_q = augment_rgb(raw.rgb_q_BTHW3, draws.q, flip_B=flip_q_B)
        rgb_k = augment_rgb(raw.rgb_k_BTHW3, draws.k, flip_B=flip_k_B)
        if raw.flow_q_BFHW2 is None or raw.flow_k_BFHW2 is None:
            return TwoViews(View(rgb_q), View(rgb_k))
        angle_q = angle_rad_B if self._rotation_q else None
        angle_k = angle_rad_B if self._rotation_k else None
        flow_q, rotated_q = flow_pictures(raw.flow_q_BFHW2, angle_rad_B=angle_q, flip_B=flip_q_B)
        flow_k, rotated_k = flow_pictures(raw.flow_k_BFHW2, angle_rad_B=angle_k, flip_B=flip_k_B)
        if self._config.routing == "released" and (self._rotation_q or self._rotation_k):
            # D5: [q, k, q~, k~] is cut in the middle instead of dealt out by view, and a half has its view's box and
            # flip: the query's "rotated" flow is the key clip's plain flow, both key flows are rotated.
            if raw.crossed_q_BFHW2 is None or raw.crossed_k_BFHW2 is None:
                raise DataError("routing=released needs each clip in the other's crop box, too; load with that setting")
            rotated_q = flow_pictures(raw.crossed_q_BFHW2, angle_rad_B=None, flip_B=flip_q_B)[0]
            flow_k = _present(flow_pictures(raw.crossed_k_BFHW2, angle_rad_B=angle_rad_B, flip_B=flip_k_B)[1])
        return TwoViews(View(rgb_q, flow_q, rotated_q), View(rgb_k, flow_k, rotated_k))


def _kernels_of(device: torch.device) -> tuple[AugmentRGB, FlowToPictures]:
    """The functions below, or on CUDA their Triton kernels."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return augment_rgb, flow_pictures
    from mscl.pretrain import augment_cuda

    return augment_cuda.augment_rgb, augment_cuda.flow_pictures


def _present(pictures: Tensor | None) -> Tensor:
    assert pictures is not None
    return pictures


def augment_rgb(rgb_BTHW3: Tensor, draws: ColourDraws, *, flip_B: NDArray[np.bool_]) -> Tensor:
    """Flip, jitter, grey, blur and mean/std of uint8 clips (B, T, H, W, 3) -> float32 (B, 3, T, H, W)."""
    batch, frames, height, width, _ = rgb_BTHW3.shape
    out = rgb_BTHW3.new_empty((batch, 3, frames, height, width), dtype=torch.float32)
    size = chunk_clips(rgb_BTHW3.shape, rgb_BTHW3.device)
    for start in range(0, batch, size):
        some = slice(start, start + size)
        clip = planar(rgb_BTHW3[some])
        chosen = draws.select(some)
        _flip_(clip, flip_B[some])
        colour_jitter_(clip, chosen)
        to_grey_(clip, np.flatnonzero(chosen.grey_B))
        blurred = np.flatnonzero(chosen.blur_B)
        gaussian_blur_(clip, blurred, chosen.sigma_px_B[blurred])
        out[some] = standardise_(clip)
    return out


def flow_pictures(
    flow_BFHW2: Tensor, *, angle_rad_B: NDArray[np.float64] | None, flip_B: NDArray[np.bool_]
) -> tuple[Tensor, Tensor | None]:
    """Colour-coded flow and the same flow turned by each sample's angle, both (B, 3, F, H, W) in [0, 1].

    `flow_BFHW2` is normalised. Order: rotate, flip, colour (METHOD 1.4; D14: a mirrored clip moves the other way,
    so the flip negates u before colouring). Without angles the second is None.
    """
    batch, fields, height, width, _ = flow_BFHW2.shape
    plain = flow_BFHW2.new_empty((batch, 3, fields, height, width), dtype=torch.float32)
    rotated = None if angle_rad_B is None else torch.empty_like(plain)
    size = chunk_clips(flow_BFHW2.shape, flow_BFHW2.device)
    for start in range(0, batch, size):
        some = slice(start, start + size)
        flow = flow_BFHW2[some]
        plain[some] = _colour(flow, flip_B[some])
        if rotated is not None and angle_rad_B is not None:
            rotated[some] = _colour(rotate_flow(flow, on_device(angle_rad_B[some], flow)), flip_B[some])
    return plain, rotated


def _colour(flow_BFHW2: Tensor, flip_B: NDArray[np.bool_]) -> Tensor:
    batch, fields, height, width, _ = flow_BFHW2.shape
    flow_B2FHW = flow_BFHW2.permute(0, 4, 1, 2, 3).contiguous()
    _flip_(flow_B2FHW, flip_B, negate_channel=0)
    # Colouring is pointwise: fields stacked as rows save moving the channels afterwards.
    picture = flow_to_rgb_unit(flow_B2FHW.view(batch, 2, fields * height, width))
    return picture.view(batch, 3, fields, height, width)


def _flip_(clip_BCTHW: Tensor, flip_B: NDArray[np.bool_], *, negate_channel: int | None = None) -> None:
    """Mirror the chosen clips left to right in place; one channel can change its sign on the way."""
    rows = np.flatnonzero(flip_B)
    if len(rows) == 0:
        return
    index = on_device(rows, clip_BCTHW)
    mirrored = clip_BCTHW.index_select(0, index).flip(-1)
    if negate_channel is not None:
        mirrored[:, negate_channel].neg_()
    clip_BCTHW.index_copy_(0, index, mirrored)
