"""Stage motion: fields per CPU second of the whole and of its parts, each against what a user would write.

    python -m benchmarks.motion [--store WORKSPACE/extract/KEY/flow.zarr]

One thread; ours and the other interleaved, CPU time (a busy machine disturbs it less than the clock), medians; a
ratio is the median of those of each round. Differences against the tests' oracle, METHOD 1.2 written in NumPy and
SciPy, in float32, a field at a time; magnitudes against `np.hypot` and `np.percentile`; the camera's motion against
OpenCV's robust `estimateAffine2D` on the same pixels, and its mean magnitudes; the whole against our reader with the
slow parts, LMEDS among them. Flow is drawn, at the sizes that the presets and the demo store, unless --store names a
real one.
"""

import argparse
import runpy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from kernels.global_motion import global_motion
from kernels.magnitudes import magnitudes
from kernels.motion import default_window_px, field_differences
from mscl.motion.config import MotionConfig
from mscl.motion.motion_stage import _measure, _ShardTask
from mscl.motion.scores import MOVING_PX
from storage.flow_store import FlowReader, FlowShardWriter, FlowSpec, create_flow_store, finalise_flow_store

GRIDS = ((128, 171), (64, 64))
FIELDS, ROUNDS = 96, 7
POINTS = 1000
ORACLE = Path(__file__).resolve().parents[1] / "tests" / "kernels" / "motion_oracle.py"
Floats = np.ndarray[Any, np.dtype[np.float32]]


def smooth_flows(num_fields: int, height: int, width: int) -> Floats:
    """Float32 fields (M, H, W, 2) that look like flow: large smooth motion with a little noise."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.normal(size=(num_fields, 2, 6, 8)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    noise = rng.normal(scale=0.05, size=(num_fields, height, width, 2))
    return (4 * fine.movedim(1, -1).numpy() + noise).astype(np.float32)


def drawn_store(folder: Path, height: int, width: int) -> Path:
    """A store of one segment of drawn flow."""
    create_flow_store(folder, FlowSpec(1, FIELDS, height, width, segments_per_shard=1))
    writer = FlowShardWriter(folder, 0)
    writer.add(smooth_flows(FIELDS, height, width))
    writer.commit()
    finalise_flow_store(folder)
    return folder


def opencv_camera(flow_MHW2: Floats, method: int) -> tuple[Floats, Floats]:
    """As `global_motion`, the model by OpenCV."""
    _, height, width, _ = flow_MHW2.shape
    step = int(np.ceil(np.sqrt(height * width / POINTS)))
    y_HW, x_HW = np.mgrid[:height, :width].astype(np.float32)
    all_HW2 = np.stack([x_HW, y_HW], axis=-1)
    from_P2 = all_HW2[::step, ::step].reshape(-1, 2)
    camera, beside = [], []
    for flow_HW2 in flow_MHW2:
        to_P2 = from_P2 + flow_HW2[::step, ::step].reshape(-1, 2)
        model_23, _ = cv2.estimateAffine2D(from_P2, to_P2, method=method)
        motion_HW2 = all_HW2 @ model_23[:, :2].T.astype(np.float32) + model_23[:, 2].astype(np.float32) - all_HW2
        left_HW2 = flow_HW2 - motion_HW2
        camera.append(np.hypot(motion_HW2[..., 0], motion_HW2[..., 1]).mean())
        beside.append(np.hypot(left_HW2[..., 0], left_HW2[..., 1]).mean())
    return np.array(camera), np.array(beside)


def plain_magnitudes(flow_MHW2: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, 99th percentile, share that moves."""
    length_MP = np.hypot(flow_MHW2[..., 0], flow_MHW2[..., 1]).reshape(len(flow_MHW2), -1)
    return length_MP.mean(axis=1), np.percentile(length_MP, 99, axis=1), (length_MP > MOVING_PX).mean(axis=1)


def compare(store: Path) -> None:
    """Print a line for each part, and one for the stage."""
    reader = FlowReader(store)
    segments: list[int] = []
    while sum(reader.valid(i)[0] for i in segments) < FIELDS and len(segments) < reader.spec.segments:
        segments.append(len(segments))
    counts = {i: reader.valid(i)[0] for i in segments}
    num_fields = sum(counts.values())
    flows = [reader.clip(i, range(count)) for i, count in counts.items()]
    window = default_window_px(flows[0].shape[1])
    oracle = runpy.run_path(str(ORACLE))["field_differences"]
    task = _ShardTask(0, range(len(segments)), store, MotionConfig())

    def each(function: Callable[[Floats], Any]) -> Callable[[], Any]:
        return lambda: [function(flow) for flow in flows]

    sides: dict[str, tuple[Callable[[], Any], ...]] = {
        "reading": (
            lambda: [
                reader.clip(i, range(count), out=flow) for (i, count), flow in zip(counts.items(), flows, strict=True)
            ],
        ),
        "differences; NumPy, SciPy": (
            each(lambda flow: field_differences(flow, window_px=window)),
            each(lambda flow: oracle(flow, weight="rgb_map", attention_mode="max", pool="avg", window=window)),
        ),
        "magnitudes; NumPy": (each(lambda flow: magnitudes(flow, moving_px=MOVING_PX)), each(plain_magnitudes)),
        "camera; OpenCV LMEDS": (each(global_motion), each(lambda flow: opencv_camera(flow, cv2.LMEDS))),
        "camera; OpenCV RANSAC": (each(global_motion), each(lambda flow: opencv_camera(flow, cv2.RANSAC))),
        "whole stage": (lambda: _measure(task, lambda _: None),),
    }
    took: dict[str, list[list[float]]] = {name: [[] for _ in pair] for name, pair in sides.items()}
    for _ in range(ROUNDS):
        for name, pair in sides.items():
            for function, seconds in zip(pair, took[name], strict=True):
                start = time.process_time()
                function()
                seconds.append(time.process_time() - start)
    others = ("reading", "differences; NumPy, SciPy", "magnitudes; NumPy", "camera; OpenCV LMEDS")
    took["whole stage"].append([sum(seconds) for seconds in zip(*(took[name][-1] for name in others), strict=True)])
    print(f"{flows[0].shape[1]}x{flows[0].shape[2]}, {num_fields} fields: us a field, fields/s of one core")
    for name, (ours, *plain) in took.items():
        per_field = statistics.median(ours) / num_fields
        line = f"  {name:<26} {1e6 * per_field:6.0f} us {1 / per_field:7.0f}/s"
        for other in plain:
            ratio = statistics.median(b / a for a, b in zip(ours, other, strict=True))
            line += f"; other {num_fields / statistics.median(other):6.0f}/s, ratio {ratio:.1f}"
        print(line, flush=True)


def main() -> None:
    """Compare on drawn flow of each grid, or on the store that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="flow.zarr of a result of extract")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if options.store is not None:
        compare(options.store)
        return
    for height, width in GRIDS:
        with tempfile.TemporaryDirectory() as folder:
            compare(drawn_store(Path(folder) / "flow.zarr", height, width))


if __name__ == "__main__":
    main()
