"""RAFT: its published accuracy with real weights, sizes, batches, and files that are no weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kernels.errors import KernelInputError
from kernels.evaluate import evaluate_folder
from kernels.flow import compute_flow
from kernels.raft import raft_flow

_WEIGHTS = "data/weights/raft_small_princeton_torchvision.pth"
# mean end-point errors in px that come with the weights: 12 updates
_EPE_PX = {"FlyingChairs_00001": 1.137, "Venus": 0.381}


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return path


def _frames(batch: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, batch, 3, height, width), generator=generator, dtype=torch.uint8)
    return frames[0], frames[1]


@pytest.mark.parametrize("name", _EPE_PX)
def test_accuracy_of_the_real_weights(shared_dir: Path, name: str) -> None:
    def method(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return compute_flow(first, second, method="raft_small", raft_weights=shared_dir / _WEIGHTS, raft_updates=12)

    (result,) = evaluate_folder(shared_dir / "data" / "flow_gt" / name, method)
    assert result.score.epe_mean_px == pytest.approx(_EPE_PX[name], abs=0.02)


def test_a_small_shift_is_found_in_a_frame_under_128_px(shared_dir: Path) -> None:
    from moving_frames import shifted_pair

    first, second = shifted_pair(64, 72, right_px=3)
    flow = compute_flow(first, second, method="raft_small", raft_weights=shared_dir / _WEIGHTS, raft_updates=12)
    assert flow.shape == (1, 64, 72, 2)
    np.testing.assert_allclose(np.median(flow[0, 12:-12, 12:-12], axis=(0, 1)), (3, 0), atol=0.3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (128, 136), (130, 129)])
def test_any_size_and_batch_equals_the_loop(random_weights: Path, height: int, width: int) -> None:
    first, second = _frames(2, height, width)
    settings = {"variant": "small", "weights": random_weights, "num_updates": 2}
    together = raft_flow(first, second, **settings)
    assert together.shape == (2, height, width, 2) and together.dtype == torch.float32
    for index in range(2):
        one = raft_flow(first[index : index + 1].numpy(), second[index : index + 1].numpy(), **settings)
        np.testing.assert_allclose(one[0], together[index].numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here")
@pytest.mark.parametrize("bf16", [False, True])
def test_a_card_gives_the_fields_of_the_cpu(random_weights: Path, bf16: bool) -> None:
    """Weights rounded to TF32's ten bits move these fields by a thousandth of their length."""
    first, second = _frames(2, 128, 136)
    settings = {"variant": "small", "weights": random_weights, "num_updates": 3}
    expected = raft_flow(first, second, **settings)
    off = raft_flow(first.cuda(), second.cuda(), bf16=bf16, **settings).cpu() - expected
    assert float(off.norm(dim=-1).mean() / expected.norm(dim=-1).mean()) < (0.1 if bf16 else 0.02)


def test_groups_of_pairs_do_not_show(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _frames(3, 128, 128)
    settings = {"variant": "small", "weights": random_weights, "num_updates": 1}
    together = raft_flow(first, second, **settings)
    monkeypatch.setattr("kernels.raft._CORRELATIONS_AT_ONCE", 1)
    torch.testing.assert_close(raft_flow(first, second, **settings), together, rtol=1e-3, atol=1e-3)


def test_float_frames_are_the_same_0_to_255(random_weights: Path) -> None:
    first, second = _frames(1, 128, 128)
    settings = {"variant": "small", "weights": random_weights, "num_updates": 1}
    expected = raft_flow(first, second, **settings)
    torch.testing.assert_close(raft_flow(first.double(), second.double(), **settings), expected)
    assert not expected.requires_grad


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x80\x02K\x01.", b"epoch,loss\n1,2\n", bytes(4096)])
def test_files_that_are_no_weights_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.pth"
    path.write_bytes(content)
    with pytest.raises(KernelInputError, match=r"notes\.pth"):
        raft_flow(*_frames(1, 8, 8), variant="small", weights=path)


def test_cut_weights_are_named(tmp_path: Path, random_weights: Path) -> None:
    path = tmp_path / "cut.pth"
    path.write_bytes(random_weights.read_bytes()[:100_000])
    with pytest.raises(KernelInputError, match=r"cut\.pth are not a weights file"):
        raft_flow(*_frames(1, 8, 8), variant="small", weights=path)


def test_weights_of_something_else_are_named(tmp_path: Path, random_weights: Path) -> None:
    for name, state in (("linear", torch.nn.Linear(2, 2).state_dict()), ("list", [torch.zeros(1)])):
        torch.save(state, tmp_path / f"{name}.pth")
        with pytest.raises(KernelInputError, match=rf"{name}\.pth"):
            raft_flow(*_frames(1, 8, 8), variant="small", weights=tmp_path / f"{name}.pth")
    with pytest.raises(KernelInputError, match=r"small\.pth are not those of torchvision's raft_large"):
        raft_flow(*_frames(1, 8, 8), variant="large", weights=random_weights)
    with pytest.raises(KernelInputError, match=r"missing\.pth do not exist"):
        raft_flow(*_frames(1, 8, 8), variant="small", weights=tmp_path / "missing.pth")


def test_a_file_that_changed_is_read_again(tmp_path: Path, random_weights: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(random_weights.read_bytes())
    first, second = _frames(1, 8, 8)
    before = raft_flow(first, second, variant="small", weights=path, num_updates=1)
    state = torch.load(path, weights_only=True)
    torch.save({name: 2 * value for name, value in state.items()}, path)
    assert not torch.equal(before, raft_flow(first, second, variant="small", weights=path, num_updates=1))


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("name resolution failed")

    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(KernelInputError, match="give its path as weights"):
        raft_flow(*_frames(1, 8, 8), variant="small")


def test_what_does_not_fit_is_refused(random_weights: Path) -> None:
    first, second = _frames(1, 8, 8)
    for changes, message in (
        ({"variant": "huge"}, "small, large"),
        ({"num_updates": 0}, "num_updates is 0"),
        ({"bf16": True}, "bf16 is for CUDA"),
    ):
        with pytest.raises(KernelInputError, match=message):
            raft_flow(first, second, **{"variant": "small", "weights": random_weights, **changes})
    with pytest.raises(KernelInputError, match=r"\(1, 3, 8, 8\).*\(1, 3, 8, 7\)"):
        raft_flow(first, second[..., :7], variant="small", weights=random_weights)
    with pytest.raises(KernelInputError, match="NaN"):
        raft_flow(first.float(), second * float("nan"), variant="small", weights=random_weights)
    with pytest.raises(KernelInputError, match="float32"):
        raft_flow(first, second.float(), variant="small", weights=random_weights)
