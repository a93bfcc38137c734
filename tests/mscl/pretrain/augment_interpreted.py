"""The Triton kernels of the augmentation in Triton's interpreter: how far they are from the plain ones.

tests/interpreted.py runs it.
"""

import numpy as np
import torch

from mscl.pretrain import augment, augment_cuda
from mscl.pretrain.draws import ColourDraws


def main() -> dict[str, float]:
    rng = np.random.default_rng(0)
    batch, frames, height, width = 8, 2, 24, 20
    report: dict[str, float] = {}
    rgb = torch.from_numpy(rng.integers(0, 256, (batch, frames, height, width, 3), dtype=np.uint8))
    rgb[:, :, :4] = rgb[:, :, :4, :, :1]
    rgb[:, :, 4:8] = torch.where(rgb[:, :, 4:8] > 127, 255, 0).to(torch.uint8)
    flip_B = np.arange(batch) % 3 == 0
    for name, times in (("per_clip", 1), ("per_frame", frames)):
        factors = [rng.uniform(0.6, 1.4, (batch, 3, times)), rng.uniform(-0.1, 0.1, (batch, 1, times))]
        draws = ColourDraws(
            jitter_B=np.arange(batch) % 6 != 1,
            grey_B=np.arange(batch) % 5 == 2,
            blur_B=np.arange(batch) % 2 == 1,
            sigma_px_B=rng.uniform(0.1, 2.0, batch),
            order_B4=np.stack([rng.permutation(4) for _ in range(batch)]),
            factors_B4T=np.concatenate(factors, axis=1),
        )
        plain = augment.augment_rgb(rgb, draws, flip_B=flip_B)
        ours = augment_cuda.augment_rgb(rgb, draws, flip_B=flip_B)
        report[f"rgb_{name}"] = float((plain - ours).abs().max())
        flipped = augment.augment_rgb(rgb, draws, flip_B=~flip_B)
        report[f"rgb_{name}_flipped"] = float((flipped - ours).abs().max())
    flow = torch.from_numpy(rng.uniform(-0.8, 0.8, (batch, frames, height, width, 2)).astype(np.float32))
    flow[0, 0, :3] = 0
    angles = rng.uniform(0.6, 5.0, batch)
    plain_pictures = augment.flow_pictures(flow, angle_rad_B=angles, flip_B=flip_B)
    our_pictures = augment_cuda.flow_pictures(flow, angle_rad_B=angles, flip_B=flip_B)
    for name, a, b in zip(("flow", "rotated"), plain_pictures, our_pictures, strict=True):
        assert a is not None and b is not None
        off = (a - b).abs()
        report[f"{name}_levels"] = float(off.max() * 255)
        report[f"{name}_share"] = float((off > 1e-6).double().mean())
    alone, nothing = augment_cuda.flow_pictures(flow[:2], angle_rad_B=None, flip_B=flip_B[:2])
    assert nothing is None and torch.equal(alone, our_pictures[0][:2])
    return report
