"""Pictures as functions of plain data: one function per picture, each returns an SVG string."""

from mscl.report.figures.lineage import lineage_graph, time_and_disk
from mscl.report.figures.motion import motion_curve, motion_histogram
from mscl.report.figures.scores import confusion_matrix, recall_curve, score_bars
from mscl.report.figures.training import finetune_curve, loss_curves

__all__ = [
    "confusion_matrix", "finetune_curve", "lineage_graph", "loss_curves", "motion_curve", "motion_histogram",
    "recall_curve", "score_bars", "time_and_disk",
]  # fmt: skip
