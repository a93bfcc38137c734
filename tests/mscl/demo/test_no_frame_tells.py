"""No single frame of the suite tells the class, and frames without their order do not tell it from its opposite."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mscl.array_types import Doubles
from mscl.demo.parts import DIRECTION, PARTS, Part
from mscl.demo.pictures import render
from mscl.demo.poses import Poses, draw_poses

EIGHT = PARTS[DIRECTION]
PIXELS = 12


def drawn(part: Part, classes: Sequence[str], per_class: int) -> tuple[list[Poses], NDArray[np.int64]]:
    """Poses of so many videos of each class, classes interleaved."""
    labels = np.tile(np.arange(len(classes)), per_class)
    poses = [
        draw_poses(
            part.classes[classes[label]], np.random.default_rng([5, number]), num_frames=part.num_frames,
            moving_frames=part.moving_frames, least_still=part.least_still, speed=part.speed,
        )
        for number, label in enumerate(labels.tolist())
    ]  # fmt: skip
    return poses, labels


def shown(part: Part, poses: Poses, frames: Sequence[int], *, seed: int) -> Doubles:
    """Pictures of some frames, small: (frames, pixels)."""
    few = replace(poses, pose_T4=poses.pose_T4[list(frames)], first_moving=0, moving_frames=len(frames))
    pictures = render(few, np.random.default_rng([6, seed]), side_px=64, background=part.background)
    return np.stack([cv2.resize(p, (PIXELS, PIXELS), interpolation=cv2.INTER_AREA).ravel() for p in pictures]) / 255


def accuracy(features_ND: Doubles, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Share of the second half that a ridge regression on the first half calls right, and how far from chance luck
    takes it (3.3 standard deviations)."""
    half = len(labels) // 2
    scaled = (features_ND - features_ND[:half].mean(axis=0)) / (features_ND[:half].std(axis=0) + 1e-9)
    scaled = np.concatenate([scaled, np.ones((len(scaled), 1))], axis=1)
    truth = np.eye(labels.max() + 1)[labels[:half]]
    ridge = scaled[:half].T @ scaled[:half] + 0.02 * half * np.eye(scaled.shape[1])
    called = (scaled[half:] @ np.linalg.solve(ridge, scaled[:half].T @ truth)).argmax(axis=1)
    chance = 1 / (labels.max() + 1)
    luck = 3.3 * float(np.sqrt(chance * (1 - chance) / (len(labels) - half)))
    return float((called == labels[half:]).mean()), luck


def products(values_ND: Doubles) -> Doubles:
    """The values and all products of two: what a linear classifier needs to see places and poses."""
    rows, columns = np.triu_indices(values_ND.shape[1])
    return np.concatenate([values_ND, values_ND[:, rows] * values_ND[:, columns]], axis=1)


@pytest.mark.parametrize("name", [DIRECTION, "order", "stills"])
def test_the_pose_in_a_single_frame_does_not_tell_the_class(name: str) -> None:
    part = PARTS[name]
    poses, labels = drawn(part, list(part.classes), 3200 // len(part.classes))
    round_NT8 = np.stack([p.round_T8 for p in poses])
    num_frames = round_NT8.shape[1]
    for frame in (0, num_frames // 2, num_frames - 1):
        found, luck = accuracy(products(round_NT8[:, frame]), labels)
        assert abs(found - 1 / len(part.classes)) < luck, frame
    # The same classifier sees the class where there is something to see: how the pose changes over the video.
    middle = num_frames // 2
    steps = [round_NT8[:, middle + at : middle + at + 3].reshape(len(labels), -1) for at in (-3, 1)]
    found, luck = accuracy(products(np.concatenate(steps, axis=1)), labels)
    assert found > 1 / len(part.classes) + 2 * luck


def test_the_pixels_of_a_single_frame_do_not_tell_the_class() -> None:
    part = PARTS["shortcut"]
    poses, labels = drawn(part, list(part.classes), 60)
    frames = (0, part.num_frames // 2, part.num_frames - 1)
    pixels_NFD = np.stack([shown(part, p, frames, seed=number) for number, p in enumerate(poses)])
    for frame in range(3):
        found, luck = accuracy(pixels_NFD[:, frame], labels)
        assert abs(found - 1 / 8) < luck, frames[frame]


@pytest.mark.parametrize("name", PARTS)
def test_frames_without_their_order_do_not_tell_opposites_apart(name: str) -> None:
    part = PARTS[name]
    for opposites in part.opposites:
        poses, labels = drawn(part, opposites, 600)
        # What does not depend on the order: means over the frames of poses and of products; how many stand still.
        unordered = np.stack([products(p.round_T8[:-1]).mean(axis=0) for p in poses])
        found, luck = accuracy(unordered, labels)
        assert abs(found - 0.5) < luck, opposites


def test_the_mean_frame_does_not_tell_opposites_apart_and_does_tell_a_move_from_a_turn() -> None:
    for classes, alike in ((("MoveRight", "MoveLeft"), True), (("MoveRight", "TurnClockwise"), False)):
        poses, labels = drawn(EIGHT, classes, 90)
        means = np.stack([shown(EIGHT, p, range(7, 24, 4), seed=n).std(axis=0) for n, p in enumerate(poses)])
        blur = np.stack([np.sort(means, axis=1)[:, ::-1][:, k] for k in (0, 20, 60, 120)], axis=1)
        for features in (np.concatenate([means, blur], axis=1), blur):
            found, luck = accuracy(features, labels)
            assert not alike or abs(found - 0.5) < luck
        assert alike or found > 0.5 + luck  # by how much is blurred alone: with 432 pixels beside it noise wins


def seen_class(flow_HW2: NDArray[np.float32]) -> str:
    """The class that fits a flow field best: an affine motion fitted to where something moves."""
    moving_HW = np.hypot(*np.moveaxis(flow_HW2, -1, 0)) > 0.3
    y_N, x_N = np.nonzero(moving_HW)
    design = np.stack([np.ones(len(x_N)), x_N - x_N.mean(), y_N - y_N.mean()], axis=1)
    fit, *_ = np.linalg.lstsq(design, flow_HW2[moving_HW], rcond=None)
    reach_px = np.hypot(x_N - x_N.mean(), y_N - y_N.mean()).mean()
    (u, v), divergence, curl = fit[0], (fit[1, 0] + fit[2, 1]) / 2, (fit[1, 1] - fit[2, 0]) / 2
    strengths = {
        "MoveRight": u, "MoveLeft": -u, "MoveDown": v, "MoveUp": -v, "TurnClockwise": curl * reach_px,
        "TurnCounterclockwise": -curl * reach_px, "ZoomIn": divergence * reach_px, "ZoomOut": -divergence * reach_px,
    }  # fmt: skip
    return max(strengths, key=lambda name: strengths[name])


def test_the_motion_seen_by_an_independent_flow_is_the_label() -> None:
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    poses, labels = drawn(EIGHT, list(EIGHT.classes), 5)
    right = 0
    for number, (video, label) in enumerate(zip(poses, labels.tolist(), strict=True)):
        # In the middle of the picture, where no disc leaves it.
        video.pose_T4[:, :2] += 0.5 - video.pose_T4[16, :2]
        frames = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in render(video, np.random.default_rng(number), side_px=64)]
        starts = range(max(video.first_moving - 1, 6), min(video.first_moving + video.moving_frames - 3, 26), 2)
        flows = [dis.calc(frames[t], frames[t + 2], None) for t in starts]
        seen = Counter(seen_class(flow_HW2) for flow_HW2 in flows if (np.abs(flow_HW2) > 0.3).any(-1).sum() > 20)
        right += [name for name, _ in seen.most_common(1)] == [list(EIGHT.classes)[label]]
    assert right >= 37


@pytest.mark.parametrize("name", PARTS)
def test_motion_starts_and_stops_inside_the_video_and_stands_still_as_long_on_either_side(name: str) -> None:
    part = PARTS[name]
    poses, _ = drawn(part, list(part.classes), 800 // len(part.classes))
    before, after = [], []
    for video in poses:
        moves = np.abs(np.diff(video.pose_T4, axis=0)).max(axis=1) > 1e-9
        first, last = np.flatnonzero(moves)[[0, -1]]
        assert first + 1 == video.first_moving and last - first + 1 == video.moving_frames
        assert moves[first : last + 1].all()
        # Frames that are stored: all but the last one.
        before.append(first)
        after.append(len(moves) - 2 - last)
    assert min(before) == min(after) == part.least_still
    assert abs(np.mean(before) - np.mean(after)) < 5 * np.std(before) / np.sqrt(len(before))


def test_the_first_motion_of_an_order_is_the_one_it_is_called_after() -> None:
    poses, labels = drawn(PARTS["order"], ("MoveThenTurn", "TurnThenMove"), 50)
    for video, label in zip(poses, labels.tolist(), strict=True):
        step_4 = np.abs(np.diff(video.pose_T4, axis=0))[video.first_moving - 1]
        assert (step_4[:2].sum() > 1e-9) == (label == 0) and (step_4[2] > 1e-9) == (label == 1)
