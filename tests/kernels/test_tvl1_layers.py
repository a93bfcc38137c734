"""The layered scenes that TV-L1 is tuned and judged on: their flow is the motion that is seen."""

from pathlib import PurePosixPath

import cv2
import numpy as np

from benchmarks.tvl1_layers import MOST_PX, SPLITS, moving_layers


def test_the_flow_leads_to_the_same_grey() -> None:
    """Half the pixels differ by less than noise and light allow; by no flow, and by the reverse of it, they do not."""
    for seed in (4, 7, 13):
        scene = moving_layers(seed, height=100, width=130)
        assert np.median(np.linalg.norm(scene.flow_HW2, axis=-1)) > 3, "a seed with motion"
        y, x = np.mgrid[:100, :130].astype(np.float32)
        differences = []
        for share in (1, 0, -1):
            there = (np.stack([x, y], -1) + share * scene.flow_HW2).astype(np.float32)
            inside = (there >= 0).all(-1) & (there <= [129, 99]).all(-1)
            seen = cv2.remap(scene.second_HW.astype(np.float32), there, None, cv2.INTER_CUBIC)
            differences.append(np.median(np.abs(seen - scene.first_HW)[inside]))
        assert differences[0] < 5 and min(differences[1:]) > 1.5 * differences[0], (seed, differences)


def test_seeds_are_scenes() -> None:
    texture = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    first, again, other = (moving_layers(seed, [texture], height=40, width=56) for seed in (5, 5, (1, 5)))
    for mine, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(mine, same)
        assert (mine != different).any()


def test_motion_is_small_and_large() -> None:
    flows = [moving_layers(seed, height=100, width=130).flow_HW2 for seed in (0, 8)]
    slow_px, fast_px = (np.linalg.norm(flow, axis=-1).max() for flow in flows)
    assert slow_px < 1 and fast_px > 0.5 * MOST_PX


def test_splits_share_no_video() -> None:
    parts = [[PurePosixPath(folder) for folder in folders] for folders in SPLITS.values()]
    assert len(parts) == 2
    for mine in parts[0]:
        for theirs in parts[1]:
            assert not mine.is_relative_to(theirs) and not theirs.is_relative_to(mine)
