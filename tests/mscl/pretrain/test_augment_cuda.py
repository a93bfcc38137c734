"""The augmentation's Triton kernels without a GPU: in the interpreter against the plain functions."""

import pytest

from tests.interpreted import interpreted

pytest.importorskip("triton", reason="triton is not installed (no wheel for this platform)")


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    return interpreted("tests.mscl.pretrain.augment_interpreted", tmp_path_factory)


@pytest.mark.parametrize("draw", ["per_clip", "per_frame"])
def test_colours_of_clips(differences: dict[str, float], draw: str) -> None:
    assert differences[f"rgb_{draw}"] < 5e-5, "of values up to 2.6"
    assert differences[f"rgb_{draw}_flipped"] > 0.5


@pytest.mark.parametrize("picture", ["flow", "rotated"])
def test_pictures_of_flow(differences: dict[str, float], picture: str) -> None:
    assert differences[f"{picture}_levels"] < 1.001, "a floor to the other side"
    assert differences[f"{picture}_share"] < 1e-3
