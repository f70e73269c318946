"""Reads messages from Kinesis queue."""

from kinesis_reader.dlt import kinesis_stream
from kinesis_reader.dlt.helpers import get_shard_iterator, max_sequence_by_shard

__all__ = ["get_shard_iterator", "kinesis_stream", "max_sequence_by_shard"]
