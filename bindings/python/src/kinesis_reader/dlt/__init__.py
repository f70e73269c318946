"""A source for dlt that replaces dlt's own Kinesis source: the same names, arguments, configuration, rows and state.

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
from .._sync import open_batches
from .._transport import Transport
from . import _rows
from ._collector import slowed_down
from ._incremental import SequenceIncremental
from ._state import CHECKPOINT, LAST_RUN, Parts, start_checkpoint
from .helpers import get_shard_iterator, max_sequence_by_shard

log = logging.getLogger("kinesis_reader")

__all__ = ["get_shard_iterator", "kinesis_stream", "max_sequence_by_shard"]


def _name(arguments: dict[str, Any]) -> str:
    """Names the resource after its stream, which an argument or the configuration sets."""
    stream = arguments.get("stream_name")
    for section in ("sources.kinesis.", "sources.", ""):
        stream = stream or dlt.config.get(f"{section}stream_name") or dlt.secrets.get(f"{section}stream_name")
    if not stream:
        raise ConfigurationValueError(
            "no stream name\n"
            "hint: pass stream_name to kinesis_stream, set `stream_name` under [sources.kinesis] in .dlt/config.toml, "
            "or set SOURCES__KINESIS__STREAM_NAME"
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
    """Reads a Kinesis stream. Each run continues where the last one stopped.

    Args:
        stream_name: The name or ARN of the stream. Default: `sources.kinesis.stream_name`.
        credentials: AWS credentials, with region and `endpoint_url`, or a session of boto3 or botocore. Default:
            `sources.kinesis.credentials`, or found as by every AWS tool.
        last_msg: The incremental that keeps the last sequence number of each shard. The first run starts at its
            `initial_value`, a mapping from shards to sequence numbers.
        initial_at_timestamp: Where the first run starts: at a time, at the oldest record (`None`), or at the tip (0).
        max_number_of_messages: Ends the run after this many messages, or up to `chunk_size` more.
        milliseconds_behind_latest: The run ends when each shard is less than this far behind its tip. 0 reads to the
            tip.
        parse_json: Puts the members of a JSON object into the row, and any other payload under `data`. If false, puts
            the payload's bytes under `data`.
        chunk_size: Messages per list, from 1 to 10,000.

    Yields:
        Lists of messages, each with its envelope in `_kinesis` and its message id in `_kinesis_msg_id`.
    """
    if not 1 <= chunk_size <= 10_000:
        raise OptionError(f"invalid chunk_size: {chunk_size}", "use a whole number from 1 to 10000")
    now, begun = time.time(), time.monotonic()
    state = dlt.current.resource_state()
    first = _first(state, initial_at_timestamp, now)
    state[LAST_RUN] = pendulum.now("UTC").subtract(seconds=1)

    component = Component()
    config = Options(
        start=_start(first, now),
        behind=timedelta(milliseconds=max(0, milliseconds_behind_latest - 1)),
        payload="merged" if parse_json else "base64",
        message_id="dlt",
    ).config(component, stream_name, now)
    transport = Transport.connect(
        check_stream(stream_name),
        region=None,
        profile=None,
        endpoint_url=credentials.endpoint_url,
        session=credentials._to_botocore_session(),
        connections=config.limits.requests,
        read_timeout=vars(config.limits)["request-timeout"] / 1000,
    )
    if not transport.is_aws():
        # Kinesis's limits on reading a shard matter only where they are enforced.
        change(config.limits, {"pace": None})
    # With an end, dlt reads a range, whatever the state.
    uses_state = last_msg is None or last_msg.end_value is None
    sequences = {} if last_msg is None else last_msg.last_value or last_msg.initial_value or {}
    saved = state.get(CHECKPOINT) if uses_state else None
    checkpoint = start_checkpoint(saved, sequences, component, config, transport)
    batches = open_batches(Run(component, config, transport, json.loads), _Start(checkpoint))

    def save(shard: str = "", position: dict[str, Any] | None = None) -> None:
        if uses_state:
            state[CHECKPOINT] = json.loads(batches.checkpoint)
            if position is not None:
                state[CHECKPOINT]["shards"][shard] = position
        # By now the clock may be corrected by the service's.
        corrected = transport.clock.now() - (time.monotonic() - begun) - 1
        state[LAST_RUN] = min(state[LAST_RUN], pendulum.from_timestamp(corrected))

    to_rows = _rows.merged if parse_json else _rows.raw
    left = max_number_of_messages
    with contextlib.closing(batches), slowed_down():
        for batch in batches:
            # Saves a position for every shard before the first row, so that a run that is cut there continues with all
            # of them.
            save()
            parts = Parts(batches.checkpoint, batch)
            for rows in _rows.chunks(batch.lines, to_rows, chunk_size):
                # dlt's state can only express positions between records.
                if (position := parts.after(rows[-1]["_kinesis"]["seq_no"])) is not None:
                    save(batch.shard, position)
                yield rows
                if left is not None:
                    left -= len(rows)
                    if left <= 0:
                        return
            batch.ack()
        save()


def _first(state: dict[str, Any], initial_at_timestamp: TAnyDateTime | None, now: float) -> datetime | None:
    """Returns where shards without a position start: at the time of the last run, or at the given time."""
    has_last_run = LAST_RUN in state
    value = state[LAST_RUN] if has_last_run else initial_at_timestamp
    try:
        first = None if value is None else ensure_pendulum_datetime(value)
    except (TypeError, ValueError, OverflowError) as error:
        where = f"{LAST_RUN} of the state" if has_last_run else "initial_at_timestamp"
        raise OptionError(f"not a time for {where}: {shown(value)}", "use a time, None, or 0") from error
    if has_last_run and CHECKPOINT not in state and first is not None and first.timestamp() > now:
        # If there is a checkpoint, the component warns of its positions in the same way.
        log.warning(
            "the last run is in the future, and earlier records of shards without a position may be unread: %s", first
        )
    return first


def _start(first: datetime | None, now: float) -> str | float:
    """Returns the option `start`. A time in the future counts as the present, as it does in the reader."""
    if first is None:
        return "trim-horizon"
    seconds = first.timestamp()
    return "latest" if seconds == 0 else min(max(0.0, seconds), now)


class _Start:
    """A state that only provides the checkpoint to start from. dlt keeps what is reached."""

    def __init__(self, checkpoint: str | None) -> None:
        self._checkpoint = checkpoint

    def load(self) -> str | None:
        return self._checkpoint

    def save(self, checkpoint: str, /) -> None:
        pass
