"""Which precision a device gets, without the device, and what fp16 does with gradients that overflow."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from mscl.errors import ConfigError
from mscl.finetune.classifier import Classifier
from mscl.models.heads import ClipHead
from mscl.stage.config import RuntimeConfig
from mscl.training.config import OptimConfig, Precision
from mscl.training.distributed import World
from mscl.training.launch import check_precision
from mscl.training.precision import (
    agreed_precision,
    autocast_dtype,
    autocast_of,
    fastest_convolutions,
    gradient_error,
    gradient_scaler,
    inference,
    refuse_wrong_gradients,
    tf32,
)
from mscl.training.updater import MOST_LEFT_OUT, Updater

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("precision", "device", "native_bf16", "expected"),
    [
        ("auto", CPU, True, torch.float32),
        ("auto", CUDA, True, torch.bfloat16),
        ("auto", CUDA, False, torch.float16),
        ("fp32", CUDA, True, torch.float32),
        ("bf16", CUDA, False, torch.bfloat16),
        ("fp16", CUDA, True, torch.float16),
        ("bf16", CPU, False, torch.bfloat16),
    ],
)
def test_the_dtype_of_a_device(
    precision: Precision, device: torch.device, native_bf16: bool, expected: torch.dtype
) -> None:
    assert autocast_dtype(precision, device, native_bf16=native_bf16) == expected


def test_one_process_has_nobody_to_agree_with() -> None:
    assert agreed_precision("auto", World(0, 1, CUDA)) == "auto"
    assert agreed_precision("fp16", World(0, 4, CUDA)) == "fp16"


@pytest.mark.parametrize(("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_product_within_the_contexts(precision: Precision, expected: torch.dtype) -> None:
    with autocast_of(precision, CPU)():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected
    with inference(precision, CPU):
        product = torch.ones(2, 2, requires_grad=True) @ torch.ones(2, 2)
        assert product.dtype == expected and not product.requires_grad
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_caller_s_own_autocast_does_not_decide(precision: Precision) -> None:
    """`mscl.embed` under one gave other features than the pipeline stored, with no word."""
    with torch.autocast("cpu", dtype=torch.bfloat16), inference(precision, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_heads_stay_float32(precision: Precision) -> None:
    """Of 170 classes bfloat16 makes the largest two logits of one clip in sixty equal, and the first class wins."""
    own, features = nn.Flatten(), torch.randn(64, 32, 1, generator=torch.Generator().manual_seed(0))
    own.feature_dim = 32
    classifier = Classifier(own, 170, dropout=0.5).eval()  # type: ignore[arg-type]
    for head, given in ((classifier, features), (ClipHead(32, 16), features[..., 0])):
        half = given.to(autocast_dtype(precision, CPU))
        with autocast_of(precision, CPU)():
            found = head(half)
        assert found.dtype == torch.float32 and torch.equal(found, head(half.float()))


def test_training_in_bfloat16_is_refused_where_a_cpu_gets_it_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch 2.14 with AVX-512 alone: the gradient of R18's third stage was what lay in memory before."""
    assert gradient_error(torch.float32) == 0 and 0 < gradient_error(torch.float16) < 0.002
    runtime = RuntimeConfig(device="cpu")
    for off, wrong in ((0.003, False), (1.02, True), (float("nan"), True)):
        monkeypatch.setattr("mscl.training.precision.gradient_error", lambda dtype, off=off: off)
        with (
            pytest.raises(ConfigError, match="finetune.precision is bf16, and on this CPU") if wrong else nullcontext()
        ):
            check_precision("bf16", runtime, setting="finetune.precision")
        for precision, device in (("bf16", CUDA), ("auto", CPU), ("fp16", CPU)):
            refuse_wrong_gradients(precision, device, setting="pretrain.precision")


def tf32_flags() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def test_tf32_is_left_as_it_was() -> None:
    before = tf32_flags()
    with pytest.raises(KeyError), tf32(CUDA):
        assert tf32_flags() == (True, True)
        raise KeyError
    assert tf32_flags() == before != (True, True)
    with tf32(CPU):
        assert tf32_flags() == before


def trained(precision: Precision) -> tuple[nn.Linear, Updater]:
    module = nn.Linear(2, 1, bias=False)
    nn.init.ones_(module.weight)
    config = OptimConfig(lr=1.0, momentum=0.0, weight_decay=0.0, clip_norm=100.0)
    return module, Updater(module, config, scaler=gradient_scaler(precision, CPU))


def stepped(module: nn.Linear, updater: Updater, x: float) -> tuple[float, dict[str, float]]:
    """Norm and values of a step on a loss whose gradient is (x, x)."""
    updater.backward(module(torch.full((1, 2), x)).sum())
    norm = updater.step().item()
    return norm, {name: value.item() for name, value in updater.values().items()}


def test_only_float16_is_scaled() -> None:
    assert not gradient_scaler("bf16", CPU).is_enabled() and gradient_scaler("bf16", CPU).state_dict() == {}
    module, updater = trained("fp16")
    assert stepped(module, updater, 3.0) == (pytest.approx(3 * 2**0.5), {"left_out": 0.0})
    assert module.weight.tolist() == [[-2.0, -2.0]], "the gradient is that of the loss and not of the scaled one"
    module, updater = trained("fp32")
    assert stepped(module, updater, 3.0) == (pytest.approx(3 * 2**0.5), {})


def test_a_step_that_overflows_is_left_out_and_lowers_the_scale() -> None:
    module, updater = trained("fp16")
    scale = updater.scaler.get_scale()
    assert stepped(module, updater, float("inf")) == (0.0, {"left_out": 1.0})
    assert module.weight.tolist() == [[1.0, 1.0]] and updater.scaler.get_scale() == scale / 2
    assert stepped(module, updater, 1.0) == (pytest.approx(2**0.5), {"left_out": 0.0})


def test_a_gradient_that_no_scale_makes_finite_is_told() -> None:
    module, updater = trained("fp16")
    norms = [stepped(module, updater, float("inf"))[0] for _ in range(MOST_LEFT_OUT - 1)]
    other_module, other = trained("fp16")
    other.load_state_dict(updater.state_dict())  # the steps left out in a row are part of the state
    norms.append(stepped(other_module, other, float("inf"))[0])
    assert norms == [0.0] * MOST_LEFT_OUT
    assert stepped(other_module, other, float("inf"))[0] == float("inf")


def test_a_precision_of_others_is_taken_from_a_checkpoint_without_a_scaler() -> None:
    module, updater = trained("fp16")
    _, plain = trained("bf16")
    updater.load_state_dict(plain.state_dict())
    assert stepped(module, updater, 1.0)[1] == {"left_out": 0.0}


@pytest.mark.parametrize(
    ("device", "steps", "timed"), [("cuda", 1000, True), ("cuda", 999, False), ("cpu", 5000, False)]
)
def test_convolutions_are_timed_where_the_steps_to_come_are_worth_it(device: str, steps: int, timed: bool) -> None:
    with fastest_convolutions(torch.device(device), steps):
        assert torch.backends.cudnn.benchmark == timed
    assert not torch.backends.cudnn.benchmark
