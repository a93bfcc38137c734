"""What an ablation trains: variants x seeds, learning-rate sweeps, equal time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from pydantic import Field, model_validator

from mscl.config import ExperimentConfig, load_config, overlay_tree
from mscl.config.base import Section
from mscl.config.trees import joined
from mscl.errors import ConfigError

STAGE = "ablate"
"""Where a workspace has the results of ablations; no stage of the pipeline."""
REFERENCE = "mscl"
"""The variant that differences are taken from and that equal time is measured by."""
SUPERVISED = "supervised"
RANDOM_WEIGHTS = "random"
CONTROLS = (REFERENCE, "moco")
"""Variants that are scored with controls where nothing else is asked for."""
_LONGEST_NAME = 100
EQUAL_TIME = "-equal-time"
"""Ends the name of a variant that was trained for as long as the reference."""


class Sweep(Section):
    """A variant trained with each of several values of one setting; the best one stands for it."""

    variant: str
    setting: str
    values: tuple[str, ...] = Field(min_length=1)

    @classmethod
    def parse(cls, text: str) -> Self:
        """`moco:pretrain.optim.lr=0.001,0.003`.

        Raises:
            ConfigError: another form.
        """
        variant, colon, rest = text.partition(":")
        setting, equals, values = rest.partition("=")
        if not (variant and colon and setting and equals and values):
            raise ConfigError(f"sweep {text!r} is not of the form VARIANT:SECTION.NAME=VALUE,VALUE")
        return cls(variant=variant, setting=setting, values=tuple(dict.fromkeys(v for v in values.split(",") if v)))

    def label(self, value: str) -> str:
        """Name of the rows of one value: `moco lr=0.003`."""
        return f"{self.variant} {self.setting.rpartition('.')[2]}={value}"


class AblationPlan(Section):
    """One ablation on one dataset."""

    name: str
    """Names the dataset in tables and the file of its picture: the `set` of every row."""
    base: str
    """Preset or YAML file that all variants share."""
    overrides: tuple[str, ...] = ()
    variants: tuple[str, ...] = Field(min_length=1)
    """`mscl`, the base as it is; names of overlays; `supervised`, trained end to end from random weights."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    folds: tuple[str, ...] = ()
    """One override per seed, e.g. another `data.test_pattern`; empty: the same data for every seed."""
    sweeps: tuple[Sweep, ...] = ()
    controls: tuple[str, ...] = CONTROLS
    """Variants also scored on clips that stand still and on frames in random order; embedding them costs four times as
    much."""
    equal_time: tuple[str, ...] = ()
    """Variants trained once more, for as many steps as cost what the reference's steps cost."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if "/" in self.name or not self.name.strip() or not self.name.isprintable() or len(self.name) > _LONGEST_NAME:
            raise ValueError(
                f"name {self.name[:_LONGEST_NAME]!r} is to name a file, too: 1 to {_LONGEST_NAME} letters without /"
            )
        if self.folds and len(self.folds) != len(self.seeds):
            raise ValueError(f"{len(self.folds)} folds for {len(self.seeds)} seeds; give one fold per seed")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds {self.seeds} repeat; each is one paired run")
        for name in self.controls:
            if self.controls != CONTROLS and name not in self.variants:
                raise ValueError(f"control {name!r} is not one of the variants ({', '.join(self.variants)})")
        if len(set(self.variants)) != len(self.variants):
            raise ValueError(f"variants {self.variants} repeat; their runs would count twice")
        if len({sweep.variant for sweep in self.sweeps}) != len(self.sweeps):
            raise ValueError("two sweeps are of one variant; give one, over one setting")
        for name in (*self.equal_time, *(sweep.variant for sweep in self.sweeps)):
            if name not in self.variants:
                raise ValueError(f"{name!r} is swept or trained for equal time, but is not one of {self.variants}")
        if self.equal_time and REFERENCE not in self.variants:
            raise ValueError(f"equal time is measured by {REFERENCE!r}, which is not one of {self.variants}")
        if SUPERVISED in self.variants and not self.trained:
            raise ValueError(f"{SUPERVISED!r} alone has nothing to be compared with; add a variant")
        return self

    @property
    def trained(self) -> tuple[str, ...]:
        """Variants that are pre-trained."""
        return tuple(name for name in self.variants if name != SUPERVISED)


@dataclass(frozen=True)
class PlannedRun:
    """One training run of an ablation, with the name and seed of its rows."""

    preset: str
    seed: int
    config: ExperimentConfig

    def for_steps(self, preset: str, steps: int, *, before: int) -> "PlannedRun":
        """The same run for at least `steps` steps, in the fewest epochs that have them; as it is, it has `before`."""
        pretrain = self.config.pretrain
        # Epochs are the least number; they exceed those of the warm-up.
        fewer = {"epochs": int(pretrain.optim.warmup_epochs) + 1} if steps < before else {}
        pretrain = pretrain.model_copy(update={"min_steps": steps, **fewer})
        return replace(self, preset=preset, config=self.config.model_copy(update={"pretrain": pretrain}))


def planned_runs(plan: AblationPlan) -> list[PlannedRun]:
    """Every run whose settings are known beforehand, seed by seed: a run cut short still holds whole pairs.

    Raises:
        ConfigError: unknown base, variant or setting.
    """
    swept = {sweep.variant: sweep for sweep in plan.sweeps}
    runs = []
    for place, seed in enumerate(plan.seeds):
        fold = plan.folds[place : place + 1]
        for name in plan.trained:
            if name not in swept:
                runs.append(PlannedRun(name, seed, _config(plan, name, seed, fold)))
                continue
            for value in swept[name].values:
                setting = f"{swept[name].setting}={value}"
                runs.append(PlannedRun(swept[name].label(value), seed, _config(plan, name, seed, fold, (setting,))))
    return runs


def supervised(config: ExperimentConfig) -> ExperimentConfig:
    """The ceiling of a run: trained end to end from random weights, once, and tested on the videos of its probe."""
    own = {"enabled": True, "initial": "random", "splits": config.probe.splits, "seeds": ()}
    return config.model_copy(update={"finetune": config.finetune.model_copy(update=own)})


def _config(
    plan: AblationPlan, variant: str, seed: int, fold: Sequence[str], swept: Sequence[str] = ()
) -> ExperimentConfig:
    of_all = [*plan.overrides, *fold, f"pretrain.seed={seed}", f"finetune.seed={seed}"]
    overrides = [*of_all, *swept]
    config = load_config(plan.base if variant == REFERENCE else f"{plan.base}+{variant}", overrides)
    if variant != REFERENCE:
        _check_variant_stays(variant, overrides)
    _check_scores(config)
    if variant != REFERENCE or swept:
        _check_scored_alike(config, load_config(plan.base, of_all), variant)
    embed = config.embed.model_copy(update={"controls": variant in plan.controls})
    return config.model_copy(update={"embed": embed})


def _check_scores(config: ExperimentConfig) -> None:
    """An ablation trains, and its tables are of the linear probe and of R@1: nothing else may stand under their names.

    Raises:
        ConfigError: settings that ask for something else.
    """
    if config.pretrain.encoder:
        raise ConfigError(
            f"pretrain.encoder={config.pretrain.encoder}: no variant is trained where an encoder is given; leave it out"
        )
    if config.probe.head != "linear":
        raise ConfigError(f"probe.head={config.probe.head}: an ablation compares linear probes; leave it out")
    ours, theirs = config.probe.superclasses, config.retrieve.superclasses
    if ours and theirs and ours != theirs:
        raise ConfigError(
            f"probe.superclasses ({', '.join(ours)}) and retrieve.superclasses ({', '.join(theirs)}) differ, and an "
            "ablation has one table of both; give both the same"
        )
    if 1 not in config.retrieve.ks:
        raise ConfigError(f"retrieve.ks={','.join(map(str, config.retrieve.ks))}: an ablation compares R@1; add 1")


def _check_scored_alike(config: ExperimentConfig, reference: ExperimentConfig, variant: str) -> None:
    """Differences are of what was trained: all variants are tested on the same videos, in the same way.

    Raises:
        ConfigError: a variant, or a sweep of it, with data or scores of its own.
    """
    for section in ("data", "embed", "probe", "retrieve"):
        ours, theirs = (joined({section: getattr(one, section).model_dump()}) for one in (config, reference))
        for setting in ours | theirs:
            if ours.get(setting) != theirs.get(setting) and not setting.endswith(".protocol"):
                raise ConfigError(
                    f"variant {variant!r} has {setting}={ours.get(setting)}, and the base {theirs.get(setting)}: "
                    "scores of other data, or taken in another way, are not compared; set it for all variants"
                )


def _check_variant_stays(variant: str, overrides: Sequence[str]) -> None:
    """An override of what makes a variant would train another one under its name."""
    for override in overrides:
        name = override.partition("=")[0]
        found: Any = overlay_tree(variant)
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            raise ConfigError(f"{override} changes what makes variant {variant!r} ({name}={found}); leave one out")
