"""Annotations: every dataset's lists to samples with a class and a split."""

from mscl.ingest.annotations.read import read_annotations
from mscl.ingest.annotations.samples import Annotations, Sample, Split

__all__ = ["Annotations", "Sample", "Split", "read_annotations"]
