"""Sequence numbers by shard: how they are compared, and where a shard is read from by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


def max_sequence_by_shard(values: Sequence[Mapping[str, str] | None]) -> dict[str, str]:
    """A `last_value_func`: the greatest sequence number of each shard.

    Args:
        values: The envelope of a message, and, unless it is the first, the sequence numbers so far by shard.
    """
    envelope = values[0]
    known = values[1] if len(values) > 1 else None
    if envelope is None:
        raise ValueError("no envelope of a message")
    last = dict(known) if known else {}
    shard, sequence = envelope["shard_id"], envelope["seq_no"]
    before = last.get(shard)
    if before is None or is_later(sequence, before):
        last[shard] = sequence
    return last


def is_later(sequence: str, other: str) -> bool:
    """Whether a sequence number is greater. They are decimal numbers of up to 129 digits, and not always of equally
    many (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Record.html>)."""
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
    """Asks for an iterator of a shard, by the client of boto3 or botocore given.

    It points behind the message that `last_msg`, an incremental, has for the shard. Without one it points to
    `initial_at_timestamp`; to the tip, where that is 0; to the oldest record, where it is `None`.

    Returns:
        The iterator, and what it was asked for with.
    """
    sequences = {} if last_msg is None else last_msg.last_value or last_msg.initial_value or {}
    place: dict[str, Any]
    if sequence := sequences.get(shard_id):
        place = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": sequence}
    elif initial_at_timestamp is None:
        place = {"ShardIteratorType": "TRIM_HORIZON"}
    elif initial_at_timestamp.timestamp() == 0:
        place = {"ShardIteratorType": "LATEST"}
    else:
        place = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": initial_at_timestamp.timestamp()}
    answer = kinesis_client.get_shard_iterator(StreamName=stream_name, ShardId=shard_id, **place)
    return answer["ShardIterator"], place
