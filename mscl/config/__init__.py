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
        merge_section,
    )
    from mscl.config.presets import load_config, overlay_names, overlay_tree, preset_names, summary_of

__all__ = [
    "AugmentConfig", "ClipConfig", "DataConfig", "DecodeLimits", "EmbedConfig", "ExperimentConfig",
    "FinetuneConfig", "FlowConfig", "LossConfig", "ModelConfig", "MotionConfig", "OptimConfig",
    "PretrainConfig", "ProbeConfig", "RetrieveConfig", "RuntimeConfig", "ScreenConfig",
    "build_config", "load_config", "merge_section", "overlay_names", "overlay_tree", "preset_names", "summary_of",
]  # fmt: skip


_OF_PRESETS = {"load_config", "overlay_names", "overlay_tree", "preset_names", "summary_of"}


def __getattr__(name: str) -> Any:
    # Late, for `experiment` reads the rooms' config modules, and these read `mscl.config.base`.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "presets" if name in _OF_PRESETS else "experiment"
    return getattr(import_module(f"mscl.config.{home}"), name)
