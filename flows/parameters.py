"""Parameters of the flows: one per section of the configuration, over a preset."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from flows.runners import spread_for
from mscl.config import ExperimentConfig, build_config, load_config, merge_section

P = ParamSpec("P")
T = TypeVar("T")


def with_sections(run: Callable[P, T]) -> Callable[P, T]:
    """`run(..., **sections)`, whose signature names every section: what Prefect makes a form of, and checks runs by.

    A section that is added to `ExperimentConfig` is a parameter of all flows without more.
    """
    signature = inspect.signature(run, eval_str=True)
    own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    sections = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=field.annotation | None)
        for name, field in ExperimentConfig.model_fields.items()
        if field.annotation is not None
    ]
    cast("Any", run).__signature__ = signature.replace(parameters=[*own, *sections])
    return run


def resolve(preset: str, sections: Mapping[str, Any]) -> ExperimentConfig:
    """The preset's configuration, changed where a section sets a name; names left out keep the preset's value.

    Whether values fit together is asked of the whole, so the flows leave it to this function: by itself a section
    would be held against the values that it leaves out, which are the preset's and not the class's.

    Args:
        sections: name -> section, or plain values as a deployment's run has them.
    """
    config = load_config(preset)
    tree = {name: merge_section(getattr(config, name), sections.get(name)) for name in ExperimentConfig.model_fields}
    changed = build_config(tree, source=f"{preset} with the run's parameters")
    spread_for(changed.runtime)  # refuses what is not installed, before anything runs
    return changed
