"""Reads messages from Kinesis queue.

A source for dlt that can stand in for dlt's own: the same names, arguments, configuration, rows and state, and every
shard read side by side, exactly to its tip, whatever is in its messages.

    import dlt
    from kinesis_reader.dlt import kinesis_stream

    pipeline = dlt.pipeline("orders", destination="duckdb", dataset_name="kinesis")
    pipeline.run(kinesis_stream("orders", initial_at_timestamp=None))
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import dlt
import pendulum
from dlt.common.configuration.exceptions import ConfigurationValueError
from dlt.common.configuration.specs import AwsCredentials
from dlt.common.time import ensure_pendulum_datetime
from dlt.common.typing import TAnyDateTime

from .._component import Component, change
from .._errors import OptionError
from .._options import Options, check_stream
from .._printable import shown
from .._run import Run
from .._sync import read_batches
from .._transport import Transport
from . import _rows
from ._collector import held_back
from ._incremental import SequenceIncremental
from ._state import CHECKPOINT, LAST_RUN, Parts, beginning
from .helpers import get_shard_iterator, max_sequence_by_shard

log = logging.getLogger("kinesis_reader")

__all__ = ["get_shard_iterator", "kinesis_stream", "max_sequence_by_shard"]


def _name(arguments: dict[str, Any]) -> str:
    """The resource is named after its stream, wherever that is named."""
    stream = arguments.get("stream_name")
    for section in ("sources.kinesis.", "sources.", ""):
        stream = stream or dlt.config.get(f"{section}stream_name") or dlt.secrets.get(f"{section}stream_name")
    if not stream:
        raise ConfigurationValueError(
            "no stream is named\n"
            "hint: give kinesis_stream its stream_name, or write `stream_name` under [sources.kinesis] in "
            ".dlt/config.toml, or set SOURCES__KINESIS__STREAM_NAME"
        )
    return check_stream(stream).rpartition("/")[2]


@dlt.resource(name=_name, primary_key="_kinesis_msg_id", section="kinesis", standalone=True)
def kinesis_stream(
    stream_name: str = dlt.config.value,
    credentials: AwsCredentials = dlt.secrets.value,
    last_msg: dlt.sources.incremental[dict[str, str]] | None = SequenceIncremental(
        "_kinesis", last_value_func=max_sequence_by_shard
    ),
    initial_at_timestamp: TAnyDateTime | None = 0.0,
    max_number_of_messages: int | None = None,
    milliseconds_behind_latest: int = 1000,
    parse_json: bool = True,
    chunk_size: int = 1000,
) -> Iterator[list[dict[str, Any]]]:
    """Reads a Kinesis stream, and goes on in the next run where this one stopped.

    Args:
        stream_name: The stream, by its name or its ARN. From `sources.kinesis.stream_name` where it is not given.
        credentials: AWS credentials, with region and `endpoint_url`, or a session of boto3 or botocore. From
            `sources.kinesis.credentials`, or as every AWS tool finds them, where they are not given.
        last_msg: The incremental that keeps the last sequence number of each shard. Its `initial_value`, a mapping from
            shards to sequence numbers, tells the first run where to begin.
        initial_at_timestamp: Where the first run begins: a time, or `None` for the oldest record, or 0 for the tip.
        max_number_of_messages: Ends the run once so many messages were read, or up to `chunk_size` more.
        milliseconds_behind_latest: A shard is read until it is less than so many milliseconds behind its tip. 0 reads
            to the tip.
        parse_json: Puts the members of JSON objects into the row, and anything else under `data`. If it is off, the
            payload's bytes stand under `data`.
        chunk_size: Messages in a list, 1 to 10,000.

    Yields:
        Lists of messages, each with its envelope in `_kinesis` and its identifier in `_kinesis_msg_id`.
    """
    if not 1 <= chunk_size <= 10_000:
        raise OptionError(f"chunk_size is {chunk_size}", "give a whole number from 1 to 10000")
    now, begun = time.time(), time.monotonic()
    state = dlt.current.resource_state()
    first = _first(state, initial_at_timestamp, now)
    state[LAST_RUN] = pendulum.now("UTC").subtract(seconds=1)

    component = Component()
    config = Options(
        stream_name,
        # The reader takes a time to come for the present; so does this.
        start=_start(first, now),
        until="caught-up",
        behind=timedelta(milliseconds=max(0, milliseconds_behind_latest - 1)),
        max_messages=None,
        page_records=None,
        pace=None,
        payload="merged" if parse_json else "base64",
        message_id="dlt",
    ).config(component, now)
    transport = Transport.connect(
        check_stream(stream_name),
        region=None,
        profile=None,
        endpoint_url=credentials.endpoint_url,
        session=credentials._to_botocore_session(),
        connections=config.limits.requests,
        read_timeout=vars(config.limits)["request-timeout"] / 1000,
    )
    if not transport.is_of_aws():
        # What Kinesis allows on a shard is kept to where it is Kinesis that allows it.
        change(config.limits, {"pace": None})
    # A range with an end is read without regard to what was kept.
    keeps = last_msg is None or last_msg.end_value is None
    sequences = {} if last_msg is None else last_msg.last_value or last_msg.initial_value or {}
    begin = beginning(state.get(CHECKPOINT) if keeps else None, sequences, component, config, transport)
    reading = read_batches(Run(component, config, transport, json.loads), _Begin(begin))

    def keep(shard: str = "", position: dict[str, Any] | None = None) -> None:
        if keeps:
            state[CHECKPOINT] = json.loads(reading.checkpoint)
            if position is not None:
                state[CHECKPOINT]["shards"][shard] = position
        # By now the service may have corrected the clock.
        by_service = transport.clock.now() - (time.monotonic() - begun) - 1
        state[LAST_RUN] = min(state[LAST_RUN], pendulum.from_timestamp(by_service))

    row = _rows.merged if parse_json else _rows.raw
    left = max_number_of_messages
    with contextlib.closing(reading), held_back():
        for batch in reading:
            # A place for every shard is kept before a row goes out: who stops at one finds the others again.
            keep()
            # dlt's state knows records, but not parts of records.
            parts = Parts(reading.checkpoint, batch)
            for rows in _rows.chunks(batch.lines, row, chunk_size):
                if (position := parts.after(rows[-1]["_kinesis"]["seq_no"])) is not None:
                    keep(batch.shard, position)
                yield rows
                if left is not None:
                    left -= len(rows)
                    if left <= 0:
                        return
            batch.ack()
        keep()


def _first(state: dict[str, Any], initial_at_timestamp: TAnyDateTime | None, now: float) -> datetime | None:
    """Where shards without a position begin: at the time of the last run, or at the given one."""
    is_kept = LAST_RUN in state
    given = state[LAST_RUN] if is_kept else initial_at_timestamp
    try:
        first = None if given is None else ensure_pendulum_datetime(given)
    except (TypeError, ValueError, OverflowError) as error:
        where = "the state" if is_kept else "initial_at_timestamp"
        raise OptionError(f"not a time in {where}: {shown(given)}", "give a time, None, or 0") from error
    if is_kept and CHECKPOINT not in state and first is not None and first.timestamp() > now:
        # The component warns in the same way of positions in a checkpoint.
        log.warning(
            "the last run is dated in the future: %s: records of shards that had none before may be unread", first
        )
    return first


def _start(first: datetime | None, now: float) -> str | float:
    if first is None:
        return "trim-horizon"
    seconds = first.timestamp()
    return "latest" if seconds == 0 else min(max(0.0, seconds), now)


class _Begin:
    """A state that only tells where to begin. What is reached, dlt keeps."""

    def __init__(self, checkpoint: str | None) -> None:
        self._checkpoint = checkpoint

    def load(self) -> str | None:
        return self._checkpoint

    def save(self, checkpoint: str, /) -> None:
        pass
