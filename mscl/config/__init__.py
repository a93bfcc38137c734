"""Configuration: frozen sections, presets, overrides."""

from mscl.config.data import DataConfig, DecodeLimits
from mscl.config.downstream import EmbedConfig, FinetuneConfig, ProbeConfig, RetrieveConfig
from mscl.config.experiment import (
    ExperimentConfig,
    build_config,
    load_config,
    merge_section,
    preset_names,
    preset_tree,
)
from mscl.config.flow import ClipConfig, FlowConfig, MotionConfig, ScreenConfig
from mscl.config.model import ModelConfig
from mscl.config.pretrain import AugmentConfig, LossConfig, OptimConfig, PretrainConfig
from mscl.config.runtime import RuntimeConfig

__all__ = [
    "AugmentConfig", "ClipConfig", "DataConfig", "DecodeLimits", "EmbedConfig", "ExperimentConfig",
    "FinetuneConfig", "FlowConfig", "LossConfig", "ModelConfig", "MotionConfig", "OptimConfig",
    "PretrainConfig", "ProbeConfig", "RetrieveConfig", "RuntimeConfig", "ScreenConfig",
    "build_config", "load_config", "merge_section", "preset_names", "preset_tree",
]  # fmt: skip
