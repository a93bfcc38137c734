"""Encoders, neck, queues, and the MSCL and MoCo modules made of them."""

from mscl.models.encoders import VideoEncoder, build_flow_encoder, build_rgb_encoder, untrained_encoder
from mscl.models.files import export_encoder, load_rgb_encoder
from mscl.models.mscl import MSCL

__all__ = [
    "MSCL",
    "VideoEncoder",
    "build_flow_encoder",
    "build_rgb_encoder",
    "export_encoder",
    "load_rgb_encoder",
    "untrained_encoder",
]
