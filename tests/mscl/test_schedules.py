"""Key momentum and learning rate: golden vector, ends, warm-up."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mscl.schedules import key_momentum, learning_rate


def test_key_momentum_golden(shared_dir: Path) -> None:
    golden = np.load(shared_dir / "golden" / "losses.npz")
    momenta = [key_momentum(progress) for progress in golden["momentum_progress"]]
    np.testing.assert_allclose(momenta, golden["momentum"], rtol=0, atol=1e-12)


def test_key_momentum_ends() -> None:
    assert key_momentum(0.0, base=0.9) == pytest.approx(0.9)
    assert key_momentum(0.5, base=0.9) == pytest.approx(0.95)
    assert key_momentum(1.0, base=0.9) == key_momentum(7.0, base=0.9) == 1.0


def test_cosine_per_epoch_holds_within_the_epoch() -> None:
    rates = [
        learning_rate(
            s,
            base=0.02,
            total_steps=40,
            steps_per_epoch=10,
            warmup_steps=0,
            schedule="cosine_epoch",
        )
        for s in range(40)
    ]
    assert len(set(rates)) == 4
    assert rates[0] == rates[9] == 0.02
    assert rates[20] == pytest.approx(0.01)


def test_cosine_per_step_falls_to_zero() -> None:
    rates = [
        learning_rate(
            s,
            base=1.0,
            total_steps=100,
            steps_per_epoch=10,
            warmup_steps=0,
            schedule="cosine_step",
        )
        for s in range(101)
    ]
    assert rates[50] == pytest.approx(0.5) and rates[100] == pytest.approx(0.0)
    assert all(late < early for early, late in pairwise(rates))


def test_d12_warm_up_happens() -> None:
    rates = [
        learning_rate(
            s,
            base=1.0,
            total_steps=1000,
            steps_per_epoch=50,
            warmup_steps=10,
            schedule="constant",
        )
        for s in range(20)
    ]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    assert set(rates[10:]) == {1.0}
