"""Reads Amazon Kinesis data streams.

    from kinesis_reader import read

    for message in read("orders", start="1h ago", state="orders.json"):
        print(message["_kinesis"]["seq_no"], message)

`read` returns messages as dicts, each with its envelope. `read_batches` returns batches, which are acknowledged one by
one. `aread` and `aread_batches` do the same in asyncio. `kinesis_reader.dlt` is a source for dlt.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _async, _files, _sync
from ._async import AsyncBatch, AsyncBatches, AsyncMessages
from ._component import Component, Gap, Outcome, merge_checkpoints
from ._errors import AwsError, Error, OptionError, ReadError, StateError
from ._invalid_records import handler
from ._messages import Message
from ._options import (
    AsyncReadOptions,
    Duration,
    MessageId,
    OnGap,
    Options,
    Pace,
    Payload,
    ReadOptions,
    Recreated,
    Start,
    Until,
    check_stream,
)
from ._printable import printable, shown
from ._run import Run
from ._state import AsyncState, FileState, State, paths
from ._sync import Batch, Batches, Messages
from ._transport import Transport

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "AsyncBatch",
    "AsyncBatches",
    "AsyncMessages",
    "AsyncReadOptions",
    "AsyncState",
    "AwsError",
    "Batch",
    "Batches",
    "Duration",
    "Error",
    "FileState",
    "Gap",
    "Message",
    "MessageId",
    "Messages",
    "OnGap",
    "OptionError",
    "Outcome",
    "Pace",
    "Payload",
    "ReadError",
    "ReadOptions",
    "Recreated",
    "Start",
    "State",
    "StateError",
    "Until",
    "aread",
    "aread_batches",
    "merge_checkpoints",
    "read",
    "read_batches",
]


def read(stream: str, **options: Unpack[ReadOptions]) -> Messages:
    """Reads the messages of a stream. Requesting the next message acknowledges the one before.

    All shards are read side by side, each in the order of its sequence numbers. A consumer that stops early, raises or
    is slow loses nothing: the next run repeats only what was not acknowledged.

    Args:
        stream: The name or ARN of the stream.
        **options: See `ReadOptions`.

    Returns:
        An iterator, which is also a context manager.

    Raises:
        OptionError: An option is unknown or has an invalid value.
        StateError: The state cannot be used, or belongs to another stream. From the iterator: it cannot be saved.
        AwsError: There is no region, no credentials or no valid endpoint.
        ReadError: From the iterator: a request failed for good.
    """
    return _sync.open_messages(*_prepare(stream, options))


def read_batches(stream: str, **options: Unpack[ReadOptions]) -> Batches:
    """Reads the batches of a stream. Each is acknowledged by its `ack`, which saves the checkpoint before it returns.

    Otherwise as `read`.
    """
    return _sync.open_batches(*_prepare(stream, options))


def aread(stream: str, **options: Unpack[AsyncReadOptions]) -> AsyncMessages:
    """Reads the messages of a stream in asyncio: as `read`, but for `async for` and `async with`.

    `load` and `save` of a state may be coroutine functions. The state is loaded, and errors about it are raised, when
    the first item is requested. If you leave the loop early, use `async with`, or call `aclose()` afterwards.
    """
    return _async.open_messages(*_prepare(stream, options))


def aread_batches(stream: str, **options: Unpack[AsyncReadOptions]) -> AsyncBatches:
    """Reads the batches of a stream in asyncio. Each is acknowledged by its `ack`.

    Otherwise as `aread`.
    """
    return _async.open_batches(*_prepare(stream, options))


def _prepare(stream: str, keywords: Mapping[str, Any]) -> tuple[Run, Any]:
    """Checks the options. Returns a run that is not open yet, and its state."""
    options = Options.of(keywords)
    on_invalid_records = handler(options.invalid_records)
    component = Component()
    config = options.config(component, check_stream(stream), time.time())
    transport = Transport.connect(
        stream,
        region=options.region,
        profile=options.profile,
        endpoint_url=options.endpoint_url,
        session=options.session,
        connections=config.limits.requests,
        read_timeout=vars(config.limits)["request-timeout"] / 1000,
    )
    run = Run(component, config, transport, options.loads, on_invalid_records)
    return run, _state(options.state, options.invalid_records)


def _state(state: object, invalid_records: object) -> State | AsyncState | None:
    path = state.path if isinstance(state, FileState) else state
    if isinstance(path, (str, os.PathLike)) and isinstance(invalid_records, (str, os.PathLike)):
        _check_different(Path(path), Path(invalid_records))
    if state is None or isinstance(state, State):
        return state
    if isinstance(state, (str, os.PathLike)):
        return FileState(state)
    raise OptionError(
        f"not a path or a state: {shown(state)}",
        "use the path of a file, or an object with load() and save(checkpoint)",
    )


def _check_different(state: Path, invalid_records: Path) -> None:
    """No file may have two purposes. Invalid paths are reported when they are opened."""
    with contextlib.suppress(OSError):
        if any(_files.is_same(path, invalid_records) for path in paths(state)):
            raise OptionError(
                f"state and invalid_records are the same file: {printable(invalid_records)}", "use two files"
            )
