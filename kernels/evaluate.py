"""How good a flow method is: end-point errors on frame pairs with known flow (Middlebury's .flo files)."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from kernels.colour import flow_to_rgb_unit
from kernels.errors import KernelInputError
from kernels.flow_files import read_flo

Frames = NDArray[np.uint8]
Flow = NDArray[np.float32]
Method = Callable[[Frames, Frames], Flow]
"""uint8 RGB (1, H, W, 3) twice -> float32 (1, H, W, 2) px."""

_IMAGES = {".png", ".ppm", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class FlowPair:
    """Two frames and the file with the flow from the first to the second."""

    name: str
    first: Path
    second: Path
    truth: Path


@dataclass(frozen=True)
class FlowScore:
    """End-point errors of one method on one pair, over the pixels whose flow is known."""

    name: str
    height: int
    width: int
    known: float
    """Fraction of the pixels."""
    epe_mean_px: float
    epe_p99_px: float
    zero_epe_px: float
    """Mean error of no motion at all: what there is to win."""
    seconds: float


@dataclass(frozen=True)
class FlowResult:
    """A score with what it was computed from, for pictures."""

    score: FlowScore
    first_HW3: Frames
    flow_HW2: Flow
    truth_HW2: Flow
    known_HW: NDArray[np.bool_]

    def picture(self) -> Frames:
        """The first frame, the true flow and the computed one side by side, (H, 3 W, 3) uint8.

        Both flows share the scale, the largest true radius; faster vectors are dark, unknown pixels black.
        """
        radius = np.hypot(self.truth_HW2[..., 0], self.truth_HW2[..., 1])[self.known_HW]
        scale_px = float(radius.max(initial=0.0)) + 1e-5
        pictures = [self.first_HW3]
        for flow in (np.where(self.known_HW[..., None], self.truth_HW2, 0), self.flow_HW2):
            unit_2HW = torch.from_numpy(np.ascontiguousarray(np.moveaxis(flow / scale_px, -1, 0)))
            unit_3HW = flow_to_rgb_unit(unit_2HW).numpy()
            pictures.append(np.rint(255 * np.moveaxis(unit_3HW, 0, -1)).astype(np.uint8))
        pictures[1][~self.known_HW] = 0
        return np.concatenate(pictures, axis=1)


def endpoint_errors(flow_HW2: Flow, truth_HW2: Flow, known_HW: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Lengths of the difference vectors in px, one per known pixel.

    Raises KernelInputError for shapes that differ, no known pixel, or a computed flow with NaN.
    """
    known = np.ones(truth_HW2.shape[:2], bool) if known_HW is None else known_HW
    if flow_HW2.shape != truth_HW2.shape or known.shape != truth_HW2.shape[:2]:
        raise KernelInputError(f"computed flow is {flow_HW2.shape}, true flow {truth_HW2.shape}, known {known.shape}")
    if not known.any():
        raise KernelInputError(f"no pixel of the true flow {truth_HW2.shape} is known; leave the pair out")
    difference = flow_HW2[known].astype(np.float64) - truth_HW2[known]
    errors = np.hypot(difference[:, 0], difference[:, 1])
    if not np.isfinite(errors).all():
        raise KernelInputError(f"the computed flow {flow_HW2.shape} holds NaN or infinite vectors")
    return errors


def find_pairs(folder: Path) -> list[FlowPair]:
    """Every .flo file under `folder` with its two frames, sorted by name.

    `NAME_flow.flo` goes with `NAME_img1.*` and `NAME_img2.*` (FlyingChairs); any other with the two images beside it
    that have no `flow` in their names. Which comes first is told by the numbers in their names (`frame9.png`,
    `frame10.png`).
    Raises KernelInputError for no .flo file at all, one without its two frames, two for the same frames, and frames
    whose order their names do not tell.
    """
    pairs: list[FlowPair] = []
    truths: dict[Path, Path] = {}
    for truth in sorted(folder.rglob("*.flo")):
        images = sorted(path for path in truth.parent.iterdir() if path.suffix.lower() in _IMAGES)
        stem = truth.stem.removesuffix("_flow")
        if stem != truth.stem:
            images = [path for path in images if path.stem in (f"{stem}_img1", f"{stem}_img2")]
        else:
            images = [path for path in images if "flow" not in path.stem]
        if len(images) != 2:
            raise KernelInputError(
                f"{truth} has {len(images)} images beside it ({', '.join(path.name for path in images[:4])}); "
                "put exactly two frames there, or name them NAME_img1, NAME_img2 and NAME_flow.flo"
            )
        first, second = _in_order(images)
        if (other := truths.setdefault(first, truth)) != truth:
            raise KernelInputError(
                f"{other} and {truth.name} have the same frames, {first.name} and {second.name}; keep the one "
                "that goes from the first to the second"
            )
        name = truth.parent.relative_to(folder) / stem if stem != truth.stem else truth.parent.relative_to(folder)
        pairs.append(FlowPair(str(name) if str(name) != "." else folder.name, first, second, truth))
    if not pairs:
        raise KernelInputError(f"{folder} holds no .flo file; give a folder of frame pairs with their true flow")
    return pairs


def _in_order(images: list[Path]) -> tuple[Path, Path]:
    """Two frames by the numbers in their names, as numbers: as text frame10 comes before frame9."""
    parts = [re.split(r"(\d+)", path.stem.casefold()) for path in images]
    numbers = [[int(part) for part in of_name[1::2]] for of_name in parts]
    if parts[0][::2] != parts[1][::2] or numbers[0] == numbers[1]:
        raise KernelInputError(
            f"which of {images[0].name} and {images[1].name} in {images[0].parent} comes first is not in their names; "
            "call them frame1 and frame2"
        )
    return (images[0], images[1]) if numbers[0] < numbers[1] else (images[1], images[0])


def evaluate_pair(pair: FlowPair, method: Method) -> FlowResult:
    """Compute the flow of a pair, timed, and compare it with the truth.

    Raises KernelInputError for files that cannot be read or sizes that differ.
    """
    first, second = (_read_image(path) for path in (pair.first, pair.second))
    truth_HW2, known_HW = read_flo(pair.truth)
    if not first.shape == second.shape == (*truth_HW2.shape[:2], 3):
        raise KernelInputError(f"{pair.name}: frames are {first.shape} and {second.shape}, true flow {truth_HW2.shape}")
    start = time.perf_counter()
    flow_HW2 = np.asarray(method(first[None], second[None])[0], np.float32)
    seconds = time.perf_counter() - start
    errors = endpoint_errors(flow_HW2, truth_HW2, known_HW)
    score = FlowScore(
        name=pair.name,
        height=truth_HW2.shape[0],
        width=truth_HW2.shape[1],
        known=float(known_HW.mean()),
        epe_mean_px=float(errors.mean()),
        epe_p99_px=float(np.percentile(errors, 99)),
        zero_epe_px=float(endpoint_errors(np.zeros_like(truth_HW2), truth_HW2, known_HW).mean()),
        seconds=seconds,
    )
    return FlowResult(score, first, flow_HW2, truth_HW2, known_HW)


def evaluate_folder(folder: Path, method: Method) -> Iterator[FlowResult]:
    """Results of `method` on every pair of `folder`, one after the other; errors as in the functions it calls."""
    for pair in find_pairs(folder):
        yield evaluate_pair(pair, method)


def mean_score(scores: list[FlowScore]) -> FlowScore:
    """The mean over pairs, each counting the same; sizes are 0. Raises KernelInputError for no scores."""
    if not scores:
        raise KernelInputError("no scores to average; evaluate at least one pair")
    fields = ("known", "epe_mean_px", "epe_p99_px", "zero_epe_px", "seconds")
    means = {name: float(np.mean([getattr(score, name) for score in scores])) for name in fields}
    return FlowScore(name="mean", height=0, width=0, **means)


def _read_image(path: Path) -> Frames:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise KernelInputError(f"{path} is no picture that OpenCV can read")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
