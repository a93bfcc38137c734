"""Configuration: the rooms' sections joined, presets, overlays, overrides."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mscl.config.experiment import (
        AugmentConfig,
        ClipConfig,
        DataConfig,
        DecodeLimits,
        EmbedConfig,
        ExperimentConfig,
        FinetuneConfig,
        FlowConfig,
        LossConfig,
        ModelConfig,
        MotionConfig,
        OptimConfig,
        PretrainConfig,
        ProbeConfig,
        RetrieveConfig,
        RuntimeConfig,
        ScreenConfig,
        build_config,
        load_config,
        merge_section,
        preset_names,
        preset_tree,
    )

__all__ = [
    "AugmentConfig", "ClipConfig", "DataConfig", "DecodeLimits", "EmbedConfig", "ExperimentConfig",
    "FinetuneConfig", "FlowConfig", "LossConfig", "ModelConfig", "MotionConfig", "OptimConfig",
    "PretrainConfig", "ProbeConfig", "RetrieveConfig", "RuntimeConfig", "ScreenConfig",
    "build_config", "load_config", "merge_section", "preset_names", "preset_tree",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # Late, for `experiment` reads the rooms' config modules, and these read `mscl.config.base`.
    if name in __all__:
        return getattr(import_module("mscl.config.experiment"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
