"""Reads Amazon Kinesis data streams.

    from kinesis_reader import read

    for message in read("orders", start="1h ago", state="orders.json"):
        print(message["_kinesis"]["seq_no"], message)

`read` gives messages as dicts, each with its envelope; `aread` does so in asyncio. With `batches=True` both give whole
pages, to be acknowledged one by one. `kinesis_reader.dlt` is a source for dlt.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, overload

from . import _files
from ._async import AsyncBatch, AsyncBatches, AsyncMessages, aread_batches, aread_messages
from ._invalid_records import InvalidRecords, taker
from ._component import Component, Gap, merge_checkpoints
from ._errors import AwsError, Error, OptionError, ReadError, StateError
from ._messages import Loads, Message
from ._options import MessageId, OnGap, Options, Pace, Payload, Recreated, Start, Until, check_stream
from ._printable import printable, shown
from ._run import Run
from ._state import FileState, State, names
from ._sync import Batch, Batches, Messages, read_batches, read_messages
from ._transport import Transport

__all__ = [
    "AsyncBatch",
    "AsyncBatches",
    "AsyncMessages",
    "AwsError",
    "Batch",
    "Batches",
    "Error",
    "FileState",
    "Gap",
    "Message",
    "Messages",
    "OptionError",
    "ReadError",
    "State",
    "StateError",
    "aread",
    "merge_checkpoints",
    "read",
]


@overload
def read(
    stream: str,
    *,
    start: Start = ...,
    until: Until = ...,
    behind: str | timedelta | None = ...,
    state: str | os.PathLike[str] | State | None = ...,
    batches: Literal[False] = ...,
    max_messages: int | None = ...,
    page_records: int | None = ...,
    pace: Pace | None = ...,
    payload: Payload = ...,
    message_id: MessageId = ...,
    deaggregate: bool = ...,
    on_gap: OnGap = ...,
    recreated: Recreated = ...,
    invalid_records: str | os.PathLike[str] | InvalidRecords | None = ...,
    loads: Loads = ...,
    region: str | None = ...,
    profile: str | None = ...,
    endpoint_url: str | None = ...,
    session: Any = ...,
) -> Messages: ...
@overload
def read(
    stream: str,
    *,
    batches: Literal[True],
    start: Start = ...,
    until: Until = ...,
    behind: str | timedelta | None = ...,
    state: str | os.PathLike[str] | State | None = ...,
    max_messages: int | None = ...,
    page_records: int | None = ...,
    pace: Pace | None = ...,
    payload: Payload = ...,
    message_id: MessageId = ...,
    deaggregate: bool = ...,
    on_gap: OnGap = ...,
    recreated: Recreated = ...,
    invalid_records: str | os.PathLike[str] | InvalidRecords | None = ...,
    loads: Loads = ...,
    region: str | None = ...,
    profile: str | None = ...,
    endpoint_url: str | None = ...,
    session: Any = ...,
) -> Batches: ...
def read(
    stream: str,
    *,
    start: Start = "trim-horizon",
    until: Until = "caught-up",
    behind: str | timedelta | None = None,
    state: str | os.PathLike[str] | State | None = None,
    batches: bool = False,
    max_messages: int | None = None,
    page_records: int | None = None,
    pace: Pace | None = None,
    payload: Payload = "merged",
    message_id: MessageId = "sha256",
    deaggregate: bool = True,
    on_gap: OnGap = "continue",
    recreated: Recreated = "refuse",
    invalid_records: str | os.PathLike[str] | InvalidRecords | None = None,
    loads: Loads = json.loads,
    region: str | None = None,
    profile: str | None = None,
    endpoint_url: str | None = None,
    session: Any = None,
) -> Messages | Batches:
    """Reads a stream, all its shards side by side, each in the order of its sequence numbers.

    Args:
        stream: The stream's name, or its ARN.
        start: Where the first run begins; later runs go by the state. `"trim-horizon"`, `"latest"`, a time, or a length
            of time ago; see `Start`.
        until: When to stop: `"caught-up"`, `"forever"`, or a time; see `Until`.
        behind: What counts as caught up: no shard is further behind its tip than this. Zero unless given.
        state: Where the checkpoint is kept, so that the next run goes on from here: the path of a file, or any object
            with `load() -> str | None` and `save(checkpoint)`. `None`: nowhere, and every run begins at `start`.
        batches: Gives pages, which are acknowledged by `Batch.ack`, in position of messages, which are acknowledged by
            asking for the next one.
        max_messages: Stops after exactly so many.
        page_records: Records to ask for at a time, 1 to 10,000. 10,000 unless given.
        pace: Share of what Kinesis allows on a shard, in percent, or `"off"`, which suits emulators. 100 unless given:
            five calls and 2 MiB a second, which all readers of a shard share.
        payload: How data appears in a message; see `Payload`.
        message_id: How `_kinesis_msg_id` is made; see `MessageId`.
        deaggregate: Makes messages of the user records in what the Kinesis Producer Library aggregated. Their envelopes
            have `sub_seq`, the position in the record.
        on_gap: What follows where records left the stream before they were read; see `OnGap`.
        recreated: What follows where the stream was deleted and made again under its name; see `Recreated`.
        invalid_records: Messages whose data is not as `payload` asks go there too: the path of a file, which is appended to
            and made durable, or a callable that is given lines. Each line has the reason under `_kinesis_reason`. They
            are there before their page is given out, and come again with it; what the callable raises ends the reading.
        loads: Makes a message of a line. `orjson.loads` takes half the time, and rounds integers beyond 64 bits.
        region, profile, endpoint_url: As for the AWS command line; what is not given is found as it finds it.
        session: A session of boto3 or botocore to take credentials and settings from.

    Returns:
        An iterator, which is also a context manager. A consumer that stops early, raises or is slow loses nothing, and
        the next run repeats only what it did not acknowledge.

    Raises:
        OptionError: An argument has a value that it cannot have.
        StateError: The state cannot be used, or belongs to another stream. Later: it cannot be saved.
        AwsError: There is no region, or there are no credentials.
        ReadError: From the iterator: Kinesis, or the way to it, ended the reading.
    """
    run = _prepared(
        Options(
            stream,
            start,
            until,
            behind,
            max_messages,
            page_records,
            pace,
            payload,
            message_id,
            deaggregate,
            on_gap,
            recreated,
        ),
        invalid_records=invalid_records,
        region=region,
        profile=profile,
        endpoint_url=endpoint_url,
        session=session,
        loads=loads,
    )
    kept = _kept(state, invalid_records)
    return read_batches(run, kept) if batches else read_messages(run, kept)


@overload
def aread(
    stream: str,
    *,
    start: Start = ...,
    until: Until = ...,
    behind: str | timedelta | None = ...,
    state: str | os.PathLike[str] | State | None = ...,
    batches: Literal[False] = ...,
    max_messages: int | None = ...,
    page_records: int | None = ...,
    pace: Pace | None = ...,
    payload: Payload = ...,
    message_id: MessageId = ...,
    deaggregate: bool = ...,
    on_gap: OnGap = ...,
    recreated: Recreated = ...,
    invalid_records: str | os.PathLike[str] | InvalidRecords | None = ...,
    loads: Loads = ...,
    region: str | None = ...,
    profile: str | None = ...,
    endpoint_url: str | None = ...,
    session: Any = ...,
) -> AsyncMessages: ...
@overload
def aread(
    stream: str,
    *,
    batches: Literal[True],
    start: Start = ...,
    until: Until = ...,
    behind: str | timedelta | None = ...,
    state: str | os.PathLike[str] | State | None = ...,
    max_messages: int | None = ...,
    page_records: int | None = ...,
    pace: Pace | None = ...,
    payload: Payload = ...,
    message_id: MessageId = ...,
    deaggregate: bool = ...,
    on_gap: OnGap = ...,
    recreated: Recreated = ...,
    invalid_records: str | os.PathLike[str] | InvalidRecords | None = ...,
    loads: Loads = ...,
    region: str | None = ...,
    profile: str | None = ...,
    endpoint_url: str | None = ...,
    session: Any = ...,
) -> AsyncBatches: ...
def aread(
    stream: str,
    *,
    start: Start = "trim-horizon",
    until: Until = "caught-up",
    behind: str | timedelta | None = None,
    state: str | os.PathLike[str] | State | None = None,
    batches: bool = False,
    max_messages: int | None = None,
    page_records: int | None = None,
    pace: Pace | None = None,
    payload: Payload = "merged",
    message_id: MessageId = "sha256",
    deaggregate: bool = True,
    on_gap: OnGap = "continue",
    recreated: Recreated = "refuse",
    invalid_records: str | os.PathLike[str] | InvalidRecords | None = None,
    loads: Loads = json.loads,
    region: str | None = None,
    profile: str | None = None,
    endpoint_url: str | None = None,
    session: Any = None,
) -> AsyncMessages | AsyncBatches:
    """Reads a stream in asyncio: as `read`, but for `async for` and `async with`.

    `load` and `save` of a state may be coroutine functions. The state is loaded, and what is wrong with it told, when
    the first item is asked for. A loop that is left early is to be in `async with`, or followed by `aclose()`.
    """
    run = _prepared(
        Options(
            stream,
            start,
            until,
            behind,
            max_messages,
            page_records,
            pace,
            payload,
            message_id,
            deaggregate,
            on_gap,
            recreated,
        ),
        invalid_records=invalid_records,
        region=region,
        profile=profile,
        endpoint_url=endpoint_url,
        session=session,
        loads=loads,
    )
    kept = _kept(state, invalid_records)
    return aread_batches(run, kept) if batches else aread_messages(run, kept)


def _kept(
    state: str | os.PathLike[str] | State | None, invalid_records: str | os.PathLike[str] | InvalidRecords | None
) -> State | None:
    path = state.path if isinstance(state, FileState) else state
    if isinstance(path, (str, os.PathLike)) and isinstance(invalid_records, (str, os.PathLike)):
        _check_apart(Path(path), Path(invalid_records))
    if state is None or isinstance(state, State):
        return state
    if isinstance(state, (str, os.PathLike)):
        return FileState(state)
    raise OptionError(
        f"not a state: {shown(state)}",
        "give the path of a file, or an object with load() and save(checkpoint)",
    )


def _check_apart(state: Path, invalid_records: Path) -> None:
    """One file never serves two purposes. Errors in the paths are reported when they are opened."""
    with contextlib.suppress(OSError):
        if any(_files.is_same(name, invalid_records) for name in names(state)):
            raise OptionError(
                f"one file for state and invalid_records: {printable(invalid_records)}", "give each one of its own"
            )


def _prepared(
    options: Options, loads: Loads, invalid_records: str | os.PathLike[str] | InvalidRecords | None, **aws: Any
) -> Run:
    take_bad = taker(invalid_records)
    component = Component()
    check_stream(options.stream)
    config = options.config(component, time.time())
    limits = config.limits
    timeout = vars(limits)["request-timeout"] / 1000
    transport = Transport.connect(options.stream, connections=limits.requests, read_timeout=timeout, **aws)
    return Run(component, config, transport, loads, take_bad)
