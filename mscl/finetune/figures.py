"""Picture of fine-tuning: loss and accuracy over the epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

from mscl.display.style import BLUE, GREEN, INK, ORANGE, canvas, to_svg


def finetune_curve(rows: Sequence[Mapping[str, Any]], *, test_top1: float | None = None) -> str:
    """Training loss and accuracy of every epoch, and where the test accuracy ended."""
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in rows]
    with canvas(2.5) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(epochs, [row["loss"] for row in rows], "o-", markersize=3, color=ORANGE)
        left.set_title("training loss")
        left.set_ylim(bottom=0)
        right.plot(epochs, [100 * row["accuracy"] for row in rows], "o-", markersize=3, color=BLUE, label="training")
        if all("val_top1" in row for row in rows):
            values = [100 * row["val_top1"] for row in rows]
            right.plot(epochs, values, "o-", markersize=3, color=GREEN, label="validation")
        if test_top1 is not None:
            right.axhline(100 * test_top1, color=INK, linestyle=(0, (4, 3)), linewidth=1, label="test, at the end")
        right.set_title("top-1 accuracy, %")
        right.set_ylim(0, 103)
        right.legend(loc="best")
        for axis in (left, right):
            axis.set_xlabel("epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        return to_svg(figure)
