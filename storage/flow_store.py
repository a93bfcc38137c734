"""The flow store: what other packages import. Spec, writer and reader have a file each."""

from storage.commits import WrittenShard
from storage.flow_codec import Box
from storage.flow_reader import FlowReader
from storage.flow_spec import QUANTISERS, FlowSpec, Quantiser, read_spec
from storage.flow_writer import FlowShardWriter, create_flow_store, finalise_flow_store, write_flow_shard

__all__ = [
    "QUANTISERS",
    "Box",
    "FlowReader",
    "FlowShardWriter",
    "FlowSpec",
    "Quantiser",
    "WrittenShard",
    "create_flow_store",
    "finalise_flow_store",
    "read_spec",
    "write_flow_shard",
]
