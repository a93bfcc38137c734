"""What the stages that score an encoder share: which official splits, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mscl.config import ExperimentConfig
from mscl.embedding.stage import ENCODER_INPUT
from mscl.score.groups import Grouping
from mscl.stage.contract import StageRun
from mscl.stage.skipped import Skipped
from mscl.video.frame_recipe import EncoderInput
from storage.json_files import read_json

if TYPE_CHECKING:
    from storage.manifest import Manifest
    from storage.result_folder import Result


def split_settings(config: ExperimentConfig, splits: Sequence[int]) -> dict[str, Any]:
    """The part of a result's key that says which split is scored, where its own settings do not."""
    return {} if splits or config.data.split == 1 else {"split": config.data.split}


@dataclass(frozen=True)
class ScoredSplits:
    """The splits that a stage scores."""

    manifests: Mapping[int, Manifest]
    """Official split -> usable rows."""
    reason: str
    """Why they cannot be scored; empty when they can."""
    grouping: Grouping
    """Which videos count together."""
    asked: tuple[int, ...]
    """The splits that the settings ask for."""

    @classmethod
    def of(cls, run: StageRun, splits: Sequence[int]) -> ScoredSplits:
        """Of this run; `splits` empty: `data.split` alone."""
        from mscl.score.labels import evaluable_splits, manifests_of_splits

        manifests = manifests_of_splits(run.input("ingest"), splits, chosen=run.config.data.split)
        grouping = Grouping.of(run.config.data, format=str(run.inputs["ingest"].record.metrics.get("format", "")))
        asked = tuple(splits) or (run.config.data.split,)
        return cls(manifests, evaluable_splits(manifests), grouping, asked)

    def skipped(self, run: StageRun, stage: str) -> Skipped:
        """What a stage leaves that could not score; says why."""
        run.progress.say(f"{stage} skipped: {self.reason}")
        return Skipped(self.reason)

    def say_notes(self, run: StageRun, *, pretrained: bool = True) -> list[str]:
        """What a reader of the scores must know, said once and returned for the record.

        `pretrained`: whether the encoder comes from the pretrain stage.
        """
        from mscl.score.labels import left_out_notes, notes_on, scored_videos
        from storage.splits import read_split

        learnt_from = _learnt_from(run.inputs["pretrain"]) if pretrained else None
        notes = []
        if self.asked != tuple(self.manifests):  # a dataset with one split
            notes = [f"split {', '.join(map(str, self.asked))} was asked for, and the dataset has one, which is scored"]
        all_rows = {number: read_split(run.input("ingest"), number) for number in self.manifests}
        notes += left_out_notes(all_rows, missing=int(run.inputs["ingest"].record.metrics.get("missing", 0)))
        if "embed" in run.inputs and (said := self._too_short(run.input("embed") / ENCODER_INPUT)):
            notes.append(said)
        notes += notes_on(self.manifests, pretrained=learnt_from)
        of_splits = [scored_videos(manifest) for manifest in self.manifests.values()]
        notes += dict.fromkeys(self.grouping.note(tested) for _, tested in of_splits)
        notes += dict.fromkeys(filter(None, (self.grouping.shared(train, tested) for train, tested in of_splits)))
        for note in notes:
            run.progress.say(note)
        return notes

    def _too_short(self, encoder_input: Path) -> str:
        """What is to be said of segments that hold no whole clip; results of earlier versions do not know."""
        if not encoder_input.is_file():
            return ""
        frames_S = next(iter(self.manifests.values())).column("num_frames").tolist()
        return EncoderInput.model_validate(read_json(encoder_input)).too_short(frames_S)


def _learnt_from(pretrained: Result) -> Manifest | None:
    """Usable rows of the dataset that an encoder was pre-trained on; None: not known.

    Of an encoder that was given it is known where that is a checkpoint of a training in this workspace.
    """
    from storage.splits import read_split
    from storage.workspace import Workspace

    workspace, record = Workspace(pretrained.folder.parents[1]), pretrained.record
    if "given" in record.metrics:
        digest = record.config.get("encoder_sha256")
        trained = [one.record for one in workspace.results("pretrain") if "given" not in one.record.metrics]
        source = next((one for one in trained if any(file.digest == digest for file in one.files)), None)
    else:
        source = record
    ingest = workspace.find("ingest", source.inputs["ingest"]) if source is not None else None
    if source is None or ingest is None:
        return None
    return read_split(ingest.folder, int(source.config.get("split", 1))).ok()
