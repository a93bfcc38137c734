"""Which precision a device gets, without the device."""

import pytest
import torch

from mscl.training.config import Precision
from mscl.training.precision import autocast_dtype, autocast_of, gradient_scaler

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


@pytest.mark.parametrize(("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_product_within_the_context(precision: Precision, expected: torch.dtype) -> None:
    with autocast_of(precision, CPU)():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_only_float16_is_scaled() -> None:
    assert not gradient_scaler("bf16", CPU).is_enabled() and gradient_scaler("bf16", CPU).state_dict() == {}
    scaler = gradient_scaler("fp16", CPU)
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    scaler.scale(weight.sum()).backward()
    assert weight.grad is not None and weight.grad[0] == scaler.get_scale() > 1
    scaler.unscale_(optimiser)
    assert torch.equal(weight.grad, torch.ones(3))
    scaler.step(optimiser)
    scaler.update()
    assert torch.equal(weight.detach(), torch.zeros(3))
    weight.grad = torch.full((3,), float("inf"))
    before = scaler.get_scale()
    scaler.step(optimiser)
    scaler.update()
    assert torch.equal(weight.detach(), torch.zeros(3)), "a step that overflowed is left out"
    assert 0 < scaler.state_dict()["scale"] <= before
