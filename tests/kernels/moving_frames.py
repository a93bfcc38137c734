"""Textured frames that move by a known amount."""

import cv2
import numpy as np


def shifted_pair(
    height: int, width: int, *, right_px: int = 0, down_px: int = 0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 RGB (1, H, W, 3) twice; what is at (y, x) in the first lies at (y + down, x + right) in the second."""
    margin = max(abs(right_px), abs(down_px))
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(height + 2 * margin, width + 2 * margin, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    scene = np.clip(127 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)

    def window(top: int, left: int) -> np.ndarray:
        return np.ascontiguousarray(scene[top : top + height, left : left + width])[None]

    return window(margin, margin), window(margin - down_px, margin - right_px)
