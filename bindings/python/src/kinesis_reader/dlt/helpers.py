"""Sequence numbers by shard, and shard iterators for them. dlt's own source has functions with the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


def max_sequence_by_shard(values: Sequence[Mapping[str, str] | None]) -> dict[str, str]:
    """Returns the greatest sequence number of each shard. For use as `last_value_func`.

    Args:
        values: The envelope of a message, and, unless it is the first message, the sequence numbers by shard so far.
    """
    envelope = values[0]
    known = values[1] if len(values) > 1 else None
    if envelope is None:
        raise ValueError("the message has no envelope")
    last = dict(known) if known else {}
    shard, sequence = envelope["shard_id"], envelope["seq_no"]
    before = last.get(shard)
    if before is None or is_later(sequence, before):
        last[shard] = sequence
    return last


def is_later(sequence: str, other: str) -> bool:
    """Whether a sequence number is greater.

    Sequence numbers are decimal numbers of up to 129 digits, and not all have the same length
    (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Record.html>).
    """
    if len(sequence) == len(other):
        return sequence > other
    return int(sequence) > int(other)


def get_shard_iterator(
    kinesis_client: Any,
    stream_name: str,
    shard_id: str,
    last_msg: Any,
    initial_at_timestamp: datetime | None,
) -> tuple[str, dict[str, Any]]:
    """Requests a shard iterator with a client of boto3 or botocore.

    It starts after the message that `last_msg`, an incremental, has for the shard. If there is none, it starts at
    `initial_at_timestamp`, where 0 stands for the tip and `None` for the oldest record.

    Returns:
        The shard iterator, and the starting position that it was requested with.
    """
    sequences = {} if last_msg is None else last_msg.last_value or last_msg.initial_value or {}
    position: dict[str, Any]
    if sequence := sequences.get(shard_id):
        position = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": sequence}
    elif initial_at_timestamp is None:
        position = {"ShardIteratorType": "TRIM_HORIZON"}
    elif initial_at_timestamp.timestamp() == 0:
        position = {"ShardIteratorType": "LATEST"}
    else:
        position = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": initial_at_timestamp.timestamp()}
    answer = kinesis_client.get_shard_iterator(StreamName=stream_name, ShardId=shard_id, **position)
    return answer["ShardIterator"], position
