"""TV-L1's retreat: what a moving object spread over plain surroundings goes, what has to move stays."""

import numpy as np
import torch

from benchmarks.tvl1_scenes import texture
from kernels.tvl1 import oracle

RADIUS_PX, SHIFT_PX, SPREAD_PX = 18, 6, 7


def test_spread_over_plain_surroundings_goes_and_the_object_stays() -> None:
    first, second, spread, distance, x = _disc_before_a_plain_wall()
    u, v = oracle.retreat(first, second, spread, oracle.no_light(first))
    # To the right is what the disc will hide; 3 px about its edge a window sees both sides.
    beside = (distance > RADIUS_PX + 3) & (distance < RADIUS_PX + SPREAD_PX) & (x < 0)
    assert (spread[0][0][beside] == SHIFT_PX).all()
    assert (u[0][beside] == 0).all()
    assert (u[0][distance < RADIUS_PX - 3] == SHIFT_PX).all()
    assert (u[0][distance > RADIUS_PX + SPREAD_PX] == 0).all() and not v.any()


def test_a_change_of_light_is_no_reason_to_stay() -> None:
    first, second, spread, _, _ = _disc_before_a_plain_wall()
    unlit = oracle.retreat(first, second, spread, oracle.no_light(first))
    light = oracle.Light(torch.full((1, 1, 1), 7.0), torch.full((1, 1, 1), 2.0))
    lit = oracle.retreat(first, second + 7 + 2 * (second - 128) / 64, spread, light)
    assert float((lit[0] != unlit[0]).float().mean()) < 0.01


def test_surroundings_move_as_most_of_the_frame_does() -> None:
    """The same pair seen by a camera that follows the disc: the wall moves, and the disc stands still."""
    first, second, spread, distance, x = _disc_before_a_plain_wall()
    followed = torch.roll(second, -SHIFT_PX, 2), (spread[0] - SHIFT_PX, spread[1])
    u, _ = oracle.retreat(first, followed[0], followed[1], oracle.no_light(first))
    beside = (distance > RADIUS_PX + 3) & (distance < RADIUS_PX + SPREAD_PX) & (x < 0)
    assert (u[0][beside] == -SHIFT_PX).all()
    assert (u[0][distance < RADIUS_PX - 3] == 0).all()


def _disc_before_a_plain_wall() -> tuple[
    torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor], torch.Tensor, torch.Tensor
]:
    """Two frames (1, 64, 96), a flow that reaches SPREAD_PX beyond the disc, and for every pixel its distance from the
    middle of the disc and x from there."""
    y, x = np.mgrid[:64, :96].astype(float) - np.array([32, 40])[:, None, None]
    frames = []
    for shift_px in (0, SHIFT_PX):
        disc = np.hypot(x - shift_px, y) <= RADIUS_PX
        frames.append(np.where(disc, texture(3)(x - shift_px, y), 60.0))
    first, second = (torch.from_numpy(frame)[None].float() for frame in frames)
    distance = np.hypot(x, y)
    u = torch.from_numpy(np.where(distance < RADIUS_PX + SPREAD_PX, SHIFT_PX, 0.0))[None].float()
    return first, second, (u, torch.zeros_like(u)), torch.from_numpy(distance), torch.from_numpy(x)
