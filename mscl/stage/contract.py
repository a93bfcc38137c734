"""What every stage is: a name, what it reads, the settings that decide its result, and a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mscl.config import ExperimentConfig
from mscl.display.blocks import Block
from mscl.errors import UserError
from mscl.progress import Progress
from mscl.stage.skipped import Skipped
from mscl.stage.view import Stages, plain_metrics
from mscl.stage.worker_pool import Spread, Tick, run_in_processes
from storage.record import changed_since, result_key
from storage.result_folder import Result
from storage.workspace import Workspace

Item = TypeVar("Item")
Done = TypeVar("Done")


@dataclass(frozen=True)
class StageRun:
    """What a stage function works with."""

    folder: Path
    """Where its outputs go; may hold unfinished work of an earlier run of the same stage, settings and inputs."""
    config: ExperimentConfig
    inputs: Mapping[str, Result]
    progress: Progress
    digests: dict[str, str] = field(default_factory=dict)
    """Relative path -> sha256 of output files whose digest the stage knows already."""
    is_damaged: bool = False
    """The result was finished once and is no longer whole: what lies in `folder` cannot be trusted unseen."""
    is_forced: bool = False
    """All is to be computed anew: nothing that an earlier run found is to be believed."""
    spread: Spread | None = None
    """Where shards are worked on; None: processes of this machine."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What decides the result, as its key has it: to ask the stage again may mean to read files again."""

    def input(self, stage: str) -> Path:
        """Folder of an input result."""
        return self.inputs[stage].folder

    def over_workers(
        self, function: Callable[[Item, Tick], Done], items: Sequence[Item], *, gpus: Sequence[int] = ()
    ) -> Iterator[Done]:
        """Results of `function(item, tick)` in the order in which workers finish them; ticks are progress.

        Args:
            gpus: that the function computes on, through `worker_device`.
        """
        spread = self.spread or partial(run_in_processes, workers=self.config.runtime.workers)
        return spread(function, items, progress=self.progress, gpus=gpus)


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline."""

    name: str
    version: int
    """Raise it when the code's results change: results of older versions are then not reused."""
    needs: tuple[str, ...]
    settings: Callable[[ExperimentConfig], dict[str, Any]]
    """The part of the configuration that decides the result, as plain JSON values."""
    run: Callable[[StageRun], dict[str, Any]]
    """Computes, writes into `folder`, returns metrics."""
    summary: str
    settings_elsewhere: Callable[[ExperimentConfig], list[dict[str, Any]]] | None = None
    """What `settings` are on other machines, where a finished result of these serves as well as one of our own."""
    places: Callable[[ExperimentConfig], dict[str, Any]] | None = None
    """Where inputs of the run lie: noted in the record beside the settings, and no part of the key, so that a dataset
    may be copied elsewhere. Nested like the configuration."""
    preflight: Callable[[ExperimentConfig, Mapping[str, Result]], None] | None = None
    """Raises a UserError where settings, and the results that are there so far, cannot lead to a result of this stage.
    A pipeline asks before each stage that comes earlier, so that hours of work are not spent on what must fail."""
    is_experiment: bool = False
    """What people cite, or what took longest to compute: `mscl gc` keeps every result of it."""
    repairs_in_place: bool = False
    """Its result is made of committed shards (`storage.verify.verify_extract`, `take_back`): it finds what of a damaged
    one can stay and makes just the rest again. Other stages begin with nothing."""
    headline: Callable[[Mapping[str, Any]], str] | None = None
    """What came out, in a few words, from a record's metrics: a score, a loss, a count; None: its plain metrics."""
    title: str = ""
    """Heading of what it has to show; empty: its name."""
    lead: str = ""
    """One or two sentences under the heading."""
    blocks: Callable[[Stages], list[Block]] | None = None
    """What it has to show, from the views of its lineage; None: its plain metrics. Its module is imported when called:
    listing the stages needs neither PyTorch nor matplotlib."""

    def came_out(self, metrics: Mapping[str, Any]) -> str:
        """What a finished result holds, in a few words; why it was skipped, where it was."""
        if skipped := Skipped.read(metrics):
            return f"skipped: {skipped.reason}"
        if self.headline is not None:
            with suppress(KeyError):  # a record of an earlier version may lack what it is made of
                return self.headline(metrics)
        return ", ".join(f"{name} {text}" for name, text in plain_metrics(metrics))

    def inputs(self, results: Mapping[str, Result]) -> dict[str, Result]:
        """What this stage reads, out of finished results by the name of their stage.

        Raises:
            UserError: one of them is not there.
        """
        missing = [name for name in self.needs if name not in results]
        if missing:
            raise UserError(
                f"stage {self.name} reads {', '.join(self.needs)}, and there is no finished result of "
                f"{', '.join(missing)}; run that first (`mscl run`, or `mscl stage {missing[0]}`)"
            )
        return {name: results[name] for name in self.needs}

    def key(self, config: ExperimentConfig, inputs: Mapping[str, Result]) -> str:
        """Key of the result that these settings and inputs lead to."""
        return self.key_of(self.settings(config), inputs)

    def key_of(self, settings: Mapping[str, Any], inputs: Mapping[str, Result]) -> str:
        """As `key`, of what `settings` has given: to ask it again may mean to look at every video again."""
        keys = {name: result.key for name, result in self.inputs(inputs).items()}
        return result_key(self.name, self.version, settings, keys)

    def noted(self, config: ExperimentConfig, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings and places as the record keeps them."""
        noted = dict(settings)
        for name, values in (self.places(config) if self.places else {}).items():
            noted[name] = {**noted.get(name, {}), **values}
        return noted

    def find(self, workspace: Workspace, config: ExperimentConfig, inputs: Mapping[str, Result]) -> Result | None:
        """The finished result of these settings and inputs, if the workspace has it whole; else another machine's.

        One that was made from an input whose files are others by now is none: `--force` keeps keys.
        """
        elsewhere = self.settings_elsewhere(config) if self.settings_elsewhere else []
        for settings in (self.settings(config), *elsewhere):
            found = workspace.find(self.name, self.key_of(settings, inputs))
            if found is not None and not self.changed_inputs(found, inputs):
                return found
        return None

    def changed_inputs(self, result: Result, inputs: Mapping[str, Result]) -> list[str]:
        """Inputs that were computed again since the result was made from them, and differ."""
        return changed_since(result.record, {name: read.record for name, read in self.inputs(inputs).items()})


@dataclass(frozen=True)
class Outcome:
    """A finished stage, and whether anything had to be computed for it."""

    result: Result
    reused: bool
    seconds: float
