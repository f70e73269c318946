"""The helpers, in the module where dlt's own source has them."""

from kinesis_reader.dlt.helpers import get_shard_iterator, max_sequence_by_shard

__all__ = ["get_shard_iterator", "max_sequence_by_shard"]
