"""Annotations (every format to samples) and video (inspect, decode)."""
