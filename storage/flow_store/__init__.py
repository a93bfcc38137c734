"""The flow store; README.md beside this file says how it is made. What other packages use is named here."""

from storage.flow_store.quantiser import QUANTISERS, Quantiser
from storage.flow_store.reader import FlowReader
from storage.flow_store.spec import FlowSpec, read_spec
from storage.flow_store.stored_segment import read_stored_segment
from storage.flow_store.writer import FlowShardWriter, StoredSegment, create_flow_store, finalise_flow_store

__all__ = [
    "QUANTISERS",
    "FlowReader",
    "FlowShardWriter",
    "FlowSpec",
    "Quantiser",
    "StoredSegment",
    "create_flow_store",
    "finalise_flow_store",
    "read_spec",
    "read_stored_segment",
]
