"""What finetune found, as a type, and how a record holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from mscl.score.classifier_scores import ClassifierScores
from mscl.stage.skipped import Skipped

NOT_ASKED = Skipped("finetune.enabled is false")
_OWN = ("epochs", "train_loss")


class FinetuneMetrics(BaseModel):
    """Scores of the encoder trained together with a classifier."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: ClassifierScores
    protocol: str = ""
    epochs: int = 0
    train_loss: float | None = None
    """Of the last epoch, mean over the runs."""
    notes: tuple[str, ...] = ()
    """What a reader of the scores must know."""

    def as_record(self) -> dict[str, Any]:
        """Metrics of the record."""
        scores = self.scores.as_record()
        own = {
            "protocol": self.protocol, "epochs": self.epochs, "train_loss": self.train_loss,
            "warnings": scores.pop("warnings"), "notes": list(self.notes), "chance": self.scores.chance_record(),
        }  # fmt: skip
        return {name: value for name, value in scores.items() if name not in own} | own

    @classmethod
    def read(cls, metrics: Mapping[str, Any]) -> Self | Skipped:
        """What `as_record` wrote, by this version or an earlier one."""
        flat = {name: value for name, value in metrics.items() if name not in _OWN}
        return Skipped.read(metrics) or cls(
            scores=ClassifierScores.read(flat, metrics.get("chance", {})), protocol=metrics.get("protocol", ""),
            epochs=metrics.get("epochs", 0), train_loss=metrics.get("train_loss"), notes=metrics.get("notes", ()),
        )  # fmt: skip
