"""Order, sharing and oracles of the augmentation (METHOD 1.4; D5, D11, D13, D14)."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kernels.colour import flow_to_rgb_unit
from kernels.rotation import rotate_flow
from mscl.errors import DataError
from mscl.pretrain.augment import Augment, flow_pictures
from mscl.pretrain.config import AugmentConfig
from mscl.pretrain.draws import JITTER, num_draws, sample_draws
from mscl.video.config import IMAGENET_MEAN, IMAGENET_STD
from mscl.video.normalise import normalise_rgb
from mscl.views import RawBatch, TwoViews

NOTHING_RANDOM: dict[str, Any] = {"flip": 0.0, "jitter": 0.0, "grey": 0.0, "blur": 0.0}


def raw_batch(batch: int = 6, side: int = 24, seed: int = 0) -> RawBatch:
    generator = torch.Generator().manual_seed(seed)

    def rgb() -> torch.Tensor:
        return torch.randint(0, 256, (batch, 8, side, side, 3), dtype=torch.uint8, generator=generator)

    def flow() -> torch.Tensor:
        return (torch.rand((batch, 4, side, side, 2), generator=generator) - 0.5) * 1.4

    draws = torch.rand((batch, num_draws(8)), generator=generator)
    return RawBatch(rgb(), rgb(), flow(), flow(), draws, torch.arange(batch))


def augment(raw: RawBatch, **changes: Any) -> TwoViews:
    return Augment(AugmentConfig(crop_px=24, **changes))(raw)


def test_without_augmentation_only_mean_and_std_remain() -> None:
    raw = raw_batch()
    views = augment(raw, **NOTHING_RANDOM)
    torch.testing.assert_close(views.q.rgb_B3THW, normalise_rgb(raw.rgb_q_BTHW3))
    torch.testing.assert_close(views.k.rgb_B3THW, normalise_rgb(raw.rgb_k_BTHW3))
    assert raw.flow_q_BFHW2 is not None and views.q.flow_B3FHW is not None
    expected = flow_to_rgb_unit(raw.flow_q_BFHW2.permute(0, 1, 4, 2, 3)).transpose(1, 2)
    assert torch.equal(views.q.flow_B3FHW, expected)


def test_same_batch_same_views_and_the_batch_is_left_alone() -> None:
    raw, again = raw_batch(), raw_batch()
    augmenter = Augment(AugmentConfig(crop_px=24))
    first, second = augmenter(raw), augmenter(raw)
    for view, other in ((first.q, second.q), (first.k, second.k)):
        assert torch.equal(view.rgb_B3THW, other.rgb_B3THW)
        assert view.rotated_B3FHW is not None and other.rotated_B3FHW is not None
        assert torch.equal(view.rotated_B3FHW, other.rotated_B3FHW)
    assert torch.equal(raw.rgb_q_BTHW3, again.rgb_q_BTHW3)
    assert raw.flow_q_BFHW2 is not None and again.flow_q_BFHW2 is not None
    assert torch.equal(raw.flow_q_BFHW2, again.flow_q_BFHW2)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    raw = raw_batch(6)
    whole = augment(raw)
    for part, rows in zip(raw.split(3), (slice(0, 2), slice(2, 4), slice(4, 6)), strict=True):
        views = augment(part)
        torch.testing.assert_close(views.q.rgb_B3THW, whole.q.rgb_B3THW[rows], atol=1e-6, rtol=0)
        assert views.k.rotated_B3FHW is not None and whole.k.rotated_B3FHW is not None
        assert torch.equal(views.k.rotated_B3FHW, whole.k.rotated_B3FHW[rows])


def test_rotation_turns_every_view_by_the_samples_angle() -> None:
    raw = raw_batch()
    views = augment(raw, **NOTHING_RANDOM)
    angles = sample_draws(raw.draws_BD.numpy(), AugmentConfig(), length=8).angle_rad_B
    for flow, view in ((raw.flow_q_BFHW2, views.q), (raw.flow_k_BFHW2, views.k)):
        assert flow is not None
        turned = rotate_flow(flow, angles_tensor := torch.from_numpy(angles))
        u, v = flow.unbind(-1)
        cos, sin = torch.cos(angles_tensor).float(), torch.sin(angles_tensor).float()
        cos, sin = cos[:, None, None, None], sin[:, None, None, None]
        torch.testing.assert_close(turned, torch.stack([cos * u - sin * v, sin * u + cos * v], -1))
        assert view.rotated_B3FHW is not None
        assert torch.equal(view.rotated_B3FHW, flow_to_rgb_unit(turned.permute(0, 1, 4, 2, 3)).transpose(1, 2))


def test_flip_mirrors_the_picture_and_the_motion() -> None:
    raw = raw_batch()
    plain, flipped = augment(raw, **NOTHING_RANDOM), augment(raw, **(NOTHING_RANDOM | {"flip": 1.0}))
    assert torch.equal(flipped.q.rgb_B3THW, plain.q.rgb_B3THW.flip(-1))
    assert torch.equal(flipped.k.rgb_B3THW, plain.k.rgb_B3THW.flip(-1))
    assert raw.flow_k_BFHW2 is not None and flipped.k.flow_B3FHW is not None
    mirrored = raw.flow_k_BFHW2.flip(-2) * torch.tensor([-1.0, 1.0])
    expected = flow_to_rgb_unit(mirrored.permute(0, 1, 4, 2, 3)).transpose(1, 2)
    assert torch.equal(flipped.k.flow_B3FHW, expected)


def flips(**changes: Any) -> list[list[bool]]:
    """Which clips of 64 are mirrored, in the query view and in the key view."""
    raw = raw_batch(64, side=8)
    plain, drawn = augment(raw, **NOTHING_RANDOM), augment(raw, **(NOTHING_RANDOM | {"flip": 0.5} | changes))
    return [
        [not torch.equal(a, b) for a, b in zip(plain_view.rgb_B3THW, view.rgb_B3THW, strict=True)]
        for plain_view, view in ((plain.q, drawn.q), (plain.k, drawn.k))
    ]


def test_the_flip_is_one_draw_for_both_views() -> None:
    q, k = flips()
    assert q == k
    assert 20 < sum(q) < 44


def test_d25_the_released_flip_is_drawn_for_each_view() -> None:
    q, k = flips(flip_draw="per_view")
    assert q == flips()[0], "the query's flip stays the one of per_sample"
    assert 20 < sum(k) < 44
    assert 20 < sum(a != b for a, b in zip(q, k, strict=True)) < 44


def test_flip_comes_after_rotation() -> None:
    # To the right, turned by a quarter: down. Mirrored: still down. Mirrored first, it would be up.
    flow = torch.zeros(1, 1, 2, 2, 2)
    flow[..., 0] = 0.5
    down = torch.zeros_like(flow)
    down[..., 1] = 0.5
    quarter, flip = np.array([math.pi / 2]), np.array([True])
    _, rotated = flow_pictures(flow, angle_rad_B=quarter, flip_B=flip)
    assert rotated is not None
    torch.testing.assert_close(rotated, flow_to_rgb_unit(down.permute(0, 1, 4, 2, 3)).transpose(1, 2))


def test_golden_rotation(shared_dir: Path) -> None:
    golden = np.load(shared_dir / "golden" / "motion.npz")
    for chunk in range(8):
        angle = np.array([(0.2 + 0.2 * chunk) * math.pi])
        key = f"rotated_chunk{chunk}"
        if key not in golden:
            continue
        normalised = torch.from_numpy(golden["normalised"][:2])[None].float()
        _, rotated = flow_pictures(normalised, angle_rad_B=angle, flip_B=np.array([False]))
        expected = flow_to_rgb_unit(torch.from_numpy(golden[key]).float().permute(0, 3, 1, 2)).transpose(0, 1)
        assert rotated is not None
        # floor(255 c): a rounding in the last bit may fall on the other side of a step.
        assert (rotated[0] - expected).abs().max() <= 1.01 / 255
        assert ((rotated[0] - expected).abs() > 0).float().mean() < 1e-3


def test_released_routing_never_shows_rotated_negatives_to_the_query() -> None:
    """The list [q, k, q~, k~] cut in the middle: its first half has the query's flip, its second the key's."""
    own, crossed = raw_batch(32), raw_batch(32, seed=1)
    with pytest.raises(DataError, match="routing=released needs each clip in the other's crop box"):
        augment(own, routing="released")
    raw = replace(own, crossed_q_BFHW2=crossed.flow_q_BFHW2, crossed_k_BFHW2=crossed.flow_k_BFHW2)
    released = augment(raw, routing="released", flip_draw="per_view")
    draws = sample_draws(raw.draws_BD.numpy(), AugmentConfig(flip_draw="per_view"), length=8)
    for got, flow, turned, flip_B in (
        (released.q.flow_B3FHW, own.flow_q_BFHW2, False, draws.flip_q_B),
        (released.q.rotated_B3FHW, crossed.flow_q_BFHW2, False, draws.flip_q_B),
        (released.k.flow_B3FHW, crossed.flow_k_BFHW2, True, draws.flip_k_B),
        (released.k.rotated_B3FHW, own.flow_k_BFHW2, True, draws.flip_k_B),
    ):
        assert flow is not None and got is not None
        expected = flow_pictures(flow, angle_rad_B=draws.angle_rad_B, flip_B=flip_B)[turned]
        assert expected is not None and torch.equal(got, expected)
    ours = augment(raw, flip_draw="per_view")
    for mine, plain in ((ours.q, augment(own, flip_draw="per_view").q), (ours.k, augment(own, flip_draw="per_view").k)):
        assert mine.rotated_B3FHW is not None and plain.rotated_B3FHW is not None
        assert torch.equal(mine.rotated_B3FHW, plain.rotated_B3FHW), "our routing reads no crossed flow"


def test_without_rotation_or_flow() -> None:
    raw = raw_batch()
    config = AugmentConfig(crop_px=24)
    views = Augment(config, rotation_k=False)(raw)
    assert views.q.rotated_B3FHW is not None and views.k.rotated_B3FHW is None
    both = Augment(config)(raw).q.rotated_B3FHW
    assert both is not None and torch.equal(views.q.rotated_B3FHW, both)
    moco = RawBatch(raw.rgb_q_BTHW3, raw.rgb_k_BTHW3, None, None, raw.draws_BD, raw.segment_B)
    views = Augment(config)(moco)
    assert views.q.flow_B3FHW is None
    assert torch.equal(views.k.rgb_B3THW, Augment(config)(raw).k.rgb_B3THW)


def test_jitter_is_constant_in_time_unless_drawn_per_frame() -> None:
    raw = raw_batch()
    one = raw.rgb_q_BTHW3[:, :1].expand(-1, 8, -1, -1, -1).contiguous()
    still = RawBatch(one, one, None, None, raw.draws_BD, raw.segment_B)
    per_clip = augment(still, jitter=1.0).q.rgb_B3THW
    torch.testing.assert_close(per_clip, per_clip[:, :, :1].expand_as(per_clip))
    per_frame = augment(still, jitter=1.0, jitter_draw="per_frame").q.rgb_B3THW
    assert (per_frame - per_frame[:, :, :1]).abs().amax(dim=(1, 3, 4))[:, 1:].min() > 0


def test_brightness_only_example() -> None:
    raw = raw_batch(1)
    draws = torch.full_like(raw.draws_BD, 0.5)  # every factor in the middle: 1, 1, 1 and a shift of 0
    raw = RawBatch(raw.rgb_q_BTHW3, raw.rgb_k_BTHW3, None, None, draws, raw.segment_B)
    torch.testing.assert_close(
        augment(raw, flip=0.0, jitter=1.0, grey=0.0, blur=0.0).q.rgb_B3THW,
        normalise_rgb(raw.rgb_q_BTHW3), atol=2e-5, rtol=0,
    )  # fmt: skip


def test_values_stay_in_range() -> None:
    views = augment(raw_batch(seed=3))
    low = [(0 - m) / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    high = [(1 - m) / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    for channel in range(3):
        values = views.q.rgb_B3THW[:, channel]
        assert values.min() >= low[channel] - 1e-5 and values.max() <= high[channel] + 1e-5
    assert views.q.flow_B3FHW is not None
    assert views.q.flow_B3FHW.min() >= 0 and views.q.flow_B3FHW.max() <= 1


def test_draws_have_the_asked_distributions() -> None:
    uniform = np.random.default_rng(0).random((20000, num_draws(8)), dtype=np.float32)
    draws = sample_draws(uniform, AugmentConfig(), length=8)
    assert draws.flip_q_B.mean() == pytest.approx(0.5, abs=0.02)
    assert draws.q.jitter_B.mean() == pytest.approx(0.8, abs=0.02)
    assert draws.k.grey_B.mean() == pytest.approx(0.2, abs=0.02)
    assert draws.k.blur_B.mean() == pytest.approx(0.5, abs=0.02)
    assert 0.2 * math.pi <= draws.angle_rad_B.min() and draws.angle_rad_B.max() < 1.8 * math.pi
    assert draws.angle_rad_B.mean() == pytest.approx(math.pi, abs=0.05)
    assert draws.q.factors_B4T.shape == (20000, 4, 1)
    for operation, (middle, strength) in enumerate(zip((1, 1, 1, 0), JITTER, strict=True)):
        factors = draws.q.factors_B4T[:, operation]
        assert factors.min() == pytest.approx(middle - strength, abs=0.01)
        assert factors.max() == pytest.approx(middle + strength, abs=0.01)
    _, counts = np.unique(draws.q.order_B4, axis=0, return_counts=True)
    assert len(counts) == 24 and counts.min() > 600
    assert not np.array_equal(draws.q.order_B4, draws.k.order_B4)


def test_released_angles_are_lopsided() -> None:
    uniform = np.random.default_rng(0).random((4000, num_draws(8)), dtype=np.float32)
    angles = sample_draws(uniform, AugmentConfig(angles="released"), length=8).angle_rad_B
    np.testing.assert_allclose(np.unique(angles), 0.2 * math.pi * np.arange(1, 9))


def test_draws_of_another_clip_length_are_refused() -> None:
    with pytest.raises(DataError, match=rf"{num_draws(8)}.*\(6, {num_draws(16)}\)"):
        sample_draws(np.zeros((6, num_draws(16)), dtype=np.float32), AugmentConfig(), length=8)
