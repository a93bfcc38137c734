"""Two-view samples from stores: alignment, determinism, normalisation (METHOD 1.3, 1.4.1, 1.4.3; D16, D19)."""

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kernels.colour import flow_to_rgb_unit
from mscl.errors import DataError
from mscl.pretrain.augment import flow_pictures
from mscl.pretrain.config import AugmentConfig
from mscl.pretrain.dataset import ClipDataset
from mscl.pretrain.two_starts import ChosenStarts, two_starts
from mscl.video.clip_indices import sample_rng
from mscl.video.config import ClipConfig
from mscl.views import RawBatch
from tests.mscl.marked_stores import WIDTH, Stores, chosen_starts, write_stores

EVERY = np.arange(11)


def same(first: RawBatch, second: RawBatch) -> bool:
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


def test_views_hold_the_clips_of_the_two_starts(stores: Stores) -> None:
    raw = stores.dataset(seed=3).load(5, EVERY)
    assert torch.equal(raw.segment_B, torch.arange(11))
    for segment, count in enumerate(stores.num_fields):
        starts = two_starts(stores.chosen().of(segment), count, length=8, stride=2, rng=sample_rng(3, 5, segment))
        assert raw.flow_q_BFHW2 is not None and raw.flow_k_BFHW2 is not None
        for start, rgb, flow in zip(
            starts,
            (raw.rgb_q_BTHW3[segment], raw.rgb_k_BTHW3[segment]),
            (raw.flow_q_BFHW2[segment], raw.flow_k_BFHW2[segment]),
            strict=True,
        ):
            indices = (start + 2 * np.arange(8)) % count
            np.testing.assert_allclose(rgb[..., 2].float().mean((1, 2)), 5 * indices, atol=3)
            np.testing.assert_allclose(rgb[..., 1].float().mean((1, 2)), 16 * segment, atol=3)
            angles = torch.atan2(flow[..., 1], flow[..., 0]).numpy()
            expected = np.angle(np.exp(0.1j * indices[::2]))
            np.testing.assert_allclose(angles.mean((1, 2)), expected, atol=0.02)


def test_frames_and_fields_share_the_box_and_fields_are_normalised(stores: Stores) -> None:
    raw = stores.dataset().load(0, EVERY)
    for rgb, flow in ((raw.rgb_q_BTHW3, raw.flow_q_BFHW2), (raw.rgb_k_BTHW3, raw.flow_k_BFHW2)):
        assert flow is not None
        # Red and radius both are (x + 1) / WIDTH of the whole frame, so they agree wherever the box lies.
        radius = flow.norm(dim=-1)
        red = rgb[:, ::2, :, :, 0].float() / 255
        assert (radius - red).abs().max() < 4 / 255 + 1 / (16 * WIDTH / 4)
        assert radius.max() <= 1
    assert not torch.equal(raw.rgb_q_BTHW3[..., 0], raw.rgb_k_BTHW3[..., 0])


def test_d5_the_released_routing_gets_each_clip_in_the_others_box(stores: Stores) -> None:
    ours, raw = stores.dataset().load(0, EVERY), stores.dataset(routing="released").load(0, EVERY)
    assert ours.crossed_q_BFHW2 is None and torch.equal(ours.draws_BD, raw.draws_BD)
    views = (
        (raw.rgb_q_BTHW3, raw.crossed_q_BFHW2, raw.flow_k_BFHW2, ours.flow_k_BFHW2),
        (raw.rgb_k_BTHW3, raw.crossed_k_BFHW2, raw.flow_q_BFHW2, ours.flow_q_BFHW2),
    )
    for rgb, crossed, other, as_ours in views:
        assert crossed is not None and other is not None and as_ours is not None
        assert torch.equal(other, as_ours) and not torch.equal(crossed, other)
        # The radius tells the box, which is that of this view's RGB; the direction tells the field, the other clip's.
        red = rgb[:, ::2, :, :, 0].float() / 255
        assert (crossed.norm(dim=-1) - red).abs().max() < 4 / 255 + 1 / (16 * WIDTH / 4)
        directions = [torch.atan2(flow[..., 1], flow[..., 0]).mean((2, 3)) for flow in (crossed, other)]
        torch.testing.assert_close(*directions, atol=0.02, rtol=0)
    assert stores.dataset(routing="released", flow=False).load(0, EVERY).crossed_q_BFHW2 is None
    part = next(raw.split(11))
    assert part.crossed_q_BFHW2 is not None and len(part.crossed_q_BFHW2) == 1


def test_a_sample_depends_on_seed_epoch_and_segment_only(stores: Stores) -> None:
    dataset = stores.dataset(seed=7)
    whole = dataset.load(2, EVERY)
    assert same(whole, stores.dataset(seed=7).load(2, EVERY))
    assert same(whole, pickle.loads(pickle.dumps(dataset)).load(2, EVERY))
    backwards = dataset.load(2, EVERY[::-1].copy())
    assert torch.equal(backwards.rgb_k_BTHW3.flip(0), whole.rgb_k_BTHW3)
    assert torch.equal(backwards.draws_BD.flip(0), whole.draws_BD)
    assert not same(whole, dataset.load(3, EVERY))
    assert not same(whole, stores.dataset(seed=8).load(2, EVERY))


def test_without_flow_the_rest_is_the_same(stores: Stores) -> None:
    whole, moco = stores.dataset().load(0, EVERY), stores.dataset(flow=False).load(0, EVERY)
    assert moco.flow_q_BFHW2 is None
    assert torch.equal(whole.rgb_k_BTHW3, moco.rgb_k_BTHW3) and torch.equal(whole.draws_BD, moco.draws_BD)


def test_one_scale_per_clip_keeps_speeds_comparable(tmp_path: Path) -> None:
    fields = [np.full((16, 16, 2), [speed, 0], dtype=np.float32) for speed in (1, 2, 3, 4, 5, 6, 7, 8)]
    stores = write_stores(tmp_path, [fields], [[np.zeros((16, 16, 3), dtype=np.uint8)] * 8])

    def speeds(scale: str) -> torch.Tensor:
        dataset = ClipDataset(
            stores.flow,
            stores.frames,
            segments=np.array([0]),
            chosen=chosen_starts([[0]]),
            clip=ClipConfig(length=8, stride=1),
            augment=AugmentConfig(crop_px=16, scale=scale),
        )
        flow = dataset.load(0, np.array([0])).flow_q_BFHW2
        assert flow is not None
        return flow[0, :, 8, 8, 0]

    torch.testing.assert_close(speeds("field"), torch.ones(4), atol=2e-5, rtol=0)
    # The median of the eight largest radii is 4.5 px.
    torch.testing.assert_close(speeds("clip"), torch.tensor([1.0, 3, 5, 7]) / 4.5, atol=2e-5, rtol=0)


@pytest.fixture(scope="module")
def golden(shared_dir: Path) -> dict[str, np.ndarray]:
    with np.load(shared_dir / "golden" / "motion.npz") as archive:
        return {name: archive[name] for name in ("flows", "normalised", "rotated_chunk0", "rotated_chunk3")}


def golden_clip(folder: Path, flows: np.ndarray) -> torch.Tensor:
    """Fields 0, 2, 4, 6 as a worker delivers them, cropped to the centre square."""
    frames = [np.zeros((*flows.shape[1:3], 3), dtype=np.uint8)] * len(flows)
    stores = write_stores(folder, [list(flows)], [frames])
    dataset = ClipDataset(
        stores.flow,
        stores.frames,
        segments=np.array([0]),
        chosen=chosen_starts([[0]]),
        clip=ClipConfig(length=8, stride=1),
        # An aspect that never fits falls back to the centre square: 56 px, not resized.
        augment=AugmentConfig(crop_px=56, aspect=(50.0, 50.0)),
    )
    raw = dataset.load(0, np.array([0]))
    assert raw.flow_q_BFHW2 is not None
    return raw.flow_q_BFHW2[0]


def test_golden_normalisation_through_the_worker(golden: dict[str, np.ndarray], tmp_path: Path) -> None:
    flows = golden["flows"]
    clip = golden_clip(tmp_path, flows)
    largest = np.linalg.norm(flows, axis=-1).max((1, 2))
    for place, index in ((0, 0), (1, 2)):
        expected = golden["normalised"][index][:, 14:70]
        # The store rounds to 1/16 px, in the field and in its largest radius.
        tolerance = 2 * math.sqrt(2) / 32 / largest[index]
        assert np.abs(clip[place].numpy() - expected).max() < tolerance


def test_normalisation_of_what_the_store_holds_is_exact(golden: dict[str, np.ndarray], tmp_path: Path) -> None:
    flows = np.round(golden["flows"] * 16) / 16
    clip = golden_clip(tmp_path, flows.astype(np.float32))
    scale = np.linalg.norm(flows, axis=-1).max((1, 2)) + 1e-5
    expected = (flows / scale[:, None, None, None])[0:8:2, :, 14:70]
    np.testing.assert_allclose(clip.numpy(), expected, atol=2e-7)


@pytest.mark.parametrize("chunk", [0, 3])
def test_golden_rotation_through_the_worker(golden: dict[str, np.ndarray], tmp_path: Path, chunk: int) -> None:
    clip = golden_clip(tmp_path, golden["flows"])[None, :1]
    angle = np.array([(0.2 + 0.2 * chunk) * math.pi])
    _, rotated = flow_pictures(clip, angle_rad_B=angle, flip_B=np.array([False]))
    expected = flow_to_rgb_unit(torch.from_numpy(golden[f"rotated_chunk{chunk}"][0, :, 14:70]).float().permute(2, 0, 1))
    assert rotated is not None
    # Pictures of flow that was rounded to 1/16 px: close on the whole, and nowhere another colour.
    difference = (rotated[0, :, 0] - expected).abs()
    assert difference.mean() < 0.01


def test_refusals(stores: Stores, make_stores: Callable[[list[int]], Stores]) -> None:
    def dataset(segments: list[int], chosen: ChosenStarts) -> ClipDataset:
        return ClipDataset(
            stores.flow,
            stores.frames,
            segments=np.array(segments, dtype=np.int64),
            chosen=chosen,
            clip=ClipConfig(length=8, stride=2),
            augment=AugmentConfig(crop_px=24),
        )

    with pytest.raises(DataError, match="no segment is left"):
        dataset([], stores.chosen())
    with pytest.raises(DataError, match="row 11 .* 11 rows"):
        dataset([11], stores.chosen())
    with pytest.raises(DataError, match="2 segments have no chosen start, first: row 1"):
        dataset([0, 1, 2], chosen_starts([[0], [], []]))
    with pytest.raises(DataError, match=r"segment row 0.*start 40.*12 fields"):
        dataset([0], chosen_starts([[40]])).load(0, np.array([0]))
