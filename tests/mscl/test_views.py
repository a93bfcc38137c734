"""Views and raw batches refuse what does not fit, and say both sides."""

import pytest
import torch
from torch import Tensor

from mscl.errors import DataError
from mscl.views import RawBatch, TwoViews, View


def rgb(batch: int = 2, side: int = 8) -> Tensor:
    return torch.zeros(batch, 3, 8, side, side)


def flow(batch: int = 2, side: int = 8, fields: int = 4) -> Tensor:
    return torch.zeros(batch, 3, fields, side, side)


def raw(batch: int = 4, **changes: Tensor | None) -> RawBatch:
    tensors: dict[str, Tensor | None] = {
        "rgb_q_BTHW3": torch.arange(batch * 8 * 36 * 3).reshape(batch, 8, 6, 6, 3).to(torch.uint8),
        "rgb_k_BTHW3": torch.zeros(batch, 8, 6, 6, 3, dtype=torch.uint8),
        "flow_q_BFHW2": torch.rand(batch, 4, 6, 6, 2),
        "flow_k_BFHW2": torch.rand(batch, 4, 6, 6, 2),
        "draws_BD": torch.rand(batch, 5),
        "segment_B": torch.arange(batch),
    }
    return RawBatch(**(tensors | changes))  # type: ignore[arg-type]


def test_views_that_fit() -> None:
    View(rgb())
    TwoViews(View(rgb(), flow()), View(rgb(), flow()))
    TwoViews(View(rgb(), flow(), flow()), View(rgb(), flow(), flow()))
    TwoViews(View(rgb(), flow(), flow()), View(rgb(), flow()))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((torch.zeros(2, 8, 3, 8, 8),), r"\(2, 8, 3, 8, 8\) float32"),
        ((rgb().to(torch.uint8),), "uint8"),
        ((rgb(), None, flow()), "no flow"),
        ((rgb(), flow(batch=3)), r"\(2, 3, 8, 8, 8\).*\(3, 3, 4, 8, 8\)"),
        ((rgb(), flow(side=9)), r"\(2, 3, 8, 8, 8\).*\(2, 3, 4, 9, 9\)"),
        ((rgb(), flow().double()), "float64.*float32"),
        ((rgb(), flow(), flow(fields=8)), r"\(2, 3, 4, 8, 8\).*\(2, 3, 8, 8, 8\)"),
    ],
)
def test_view_says_both_sides(parts: tuple[Tensor | None, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        View(*parts)  # type: ignore[arg-type]


def test_two_views_must_match() -> None:
    with pytest.raises(DataError, match=r"rgb_B3THW.*q \(2, 3, 8, 8, 8\).*k \(3, 3, 8, 8, 8\)"):
        TwoViews(View(rgb()), View(rgb(batch=3)))
    with pytest.raises(DataError, match=r"flow_B3FHW.*None"):
        TwoViews(View(rgb(), flow()), View(rgb()))


@pytest.mark.parametrize(
    "changes",
    [
        {"rgb_q_BTHW3": torch.zeros(4, 8, 6, 6, 3)},
        {"rgb_k_BTHW3": torch.zeros(4, 8, 7, 7, 3, dtype=torch.uint8)},
        {"flow_k_BFHW2": None},
        {"flow_q_BFHW2": torch.rand(4, 4, 7, 7, 2), "flow_k_BFHW2": torch.rand(4, 4, 7, 7, 2)},
        {"draws_BD": torch.rand(3, 5)},
    ],
)
def test_raw_batch_refuses(changes: dict[str, Tensor | None]) -> None:
    with pytest.raises(DataError, match=r"\(|None"):
        raw(**changes)


def test_split_gives_equal_parts_of_the_same_memory() -> None:
    whole = raw(4)
    parts = list(whole.split(2))
    assert [len(p) for p in parts] == [2, 2]
    assert parts[1].rgb_q_BTHW3.data_ptr() == whole.rgb_q_BTHW3[2:].data_ptr()
    assert torch.equal(torch.cat([p.segment_B for p in parts]), whole.segment_B)
    with pytest.raises(DataError, match=r"4 clips .* 3 equal parts"):
        list(whole.split(3))


def test_moving_keeps_decisions_on_the_cpu() -> None:
    moved = raw(2, flow_q_BFHW2=None, flow_k_BFHW2=None).to("meta")
    assert moved.rgb_q_BTHW3.device.type == "meta" and moved.flow_q_BFHW2 is None
    assert moved.draws_BD.device.type == "cpu" and moved.segment_B.device.type == "cpu"
