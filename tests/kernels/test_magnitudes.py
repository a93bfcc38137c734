"""Magnitudes against NumPy's own."""

import numpy as np
import pytest

from kernels import magnitudes as module
from kernels.errors import KernelInputError
from kernels.magnitudes import magnitudes


@pytest.mark.parametrize("shape", [(9, 32, 43), (2, 1, 1), (3, 1, 2), (0, 4, 4), (4, 10, 101)])
def test_they_are_those_of_hypot_and_percentile(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit for flow as it is stored, in steps of 1/16 px; whatever is worked on at once."""
    monkeypatch.setattr(module, "_PIXELS_AT_ONCE", 4000)
    flow = np.random.default_rng(0).integers(-90, 90, (*shape, 2)).astype(np.float32) / np.float32(16)
    found = magnitudes(flow, moving_px=2.5)
    length_MP = np.hypot(flow[..., 0], flow[..., 1]).reshape(shape[0], shape[1] * shape[2])
    np.testing.assert_array_equal(found.mean, length_MP.mean(axis=1))
    np.testing.assert_array_equal(found.p99, np.percentile(length_MP, 99, axis=1).astype(np.float32))
    np.testing.assert_array_equal(found.moving_share, (length_MP > 2.5).mean(axis=1, dtype=np.float32))
    assert {values.dtype for values in found} == {np.dtype(np.float32)}


def test_no_flow_is_refused() -> None:
    with pytest.raises(KernelInputError, match=r"\(M, H, W, 2\) is needed"):
        magnitudes(np.zeros((4, 4, 2), np.float32), moving_px=0.5)
