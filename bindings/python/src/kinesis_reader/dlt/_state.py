"""The state of the resource, which keeps positions between runs.

Two of its members are those of dlt's own Kinesis source, so that either source can continue where the other stopped.
`incremental`, which dlt writes as rows pass, has the last sequence number of each shard that ever had a message.
`initial_at_timestamp` has the time of the last run, from which dlt's source reads shards that never had a message. The
third member, `kinesis_reader`, is the reader's checkpoint, with a position for every shard. If a shard has two
positions, the later one counts.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from .._component import Component, Failure, Finished, Reader, Request, Wait, merge_checkpoints
from .._errors import Error, StateError
from .._printable import shown
from .._run import WAIT_MIN, Page
from .._transport import Transport

CHECKPOINT = "kinesis_reader"
LAST_RUN = "initial_at_timestamp"

ACTIONS_MAX = 100_000
"""Actions of the component before it reads a shard: a notice for each of 10,000 shards, and some requests."""

_SEQUENCE = re.compile(r"0|[1-9][0-9]{0,128}")


def start_checkpoint(
    checkpoint: Mapping[str, Any] | None,
    sequences: Mapping[str, str],
    component: Component,
    config: Any,
    transport: Transport,
) -> str | None:
    """Returns the checkpoint to start from, which joins that in the state with the sequence numbers by shard.

    `None` means that this is the first run.
    """
    after = {
        shard: {"after": sequence}
        for shard, sequence in sequences.items()
        # Kinesis did not write an invalid sequence number.
        if isinstance(sequence, str) and _SEQUENCE.fullmatch(sequence) and not _is_part(checkpoint, shard, sequence)
    }
    if checkpoint is None and not after:
        return None
    try:
        text = json.dumps(checkpoint) if checkpoint is not None else discover(component, config, transport)
        if not after:
            return text
        name = json.loads(text)["stream"]["name"]
    except (KeyError, TypeError, ValueError) as error:
        hint = "restore the pipeline's state from a backup, or start over with a new pipeline"
        raise StateError(f"invalid checkpoint in the state: {shown(error)}", hint) from error
    return merge_checkpoints(text, json.dumps({"version": 1, "stream": {"name": name}, "shards": after}))


class Parts:
    """The aggregated records that a batch holds only a part of: its first and its last record.

    Such a record comes in several batches, or in several runs.
    """

    def __init__(self, before: str, batch: Page) -> None:
        """`before` is the checkpoint before the batch."""
        self._first = json.loads(before)["shards"].get(batch.shard, {})
        self._last = json.loads(batch.shard_checkpoint)["shards"][batch.shard]

    def after(self, sequence: str) -> dict[str, Any] | None:
        """Returns the position after this record's rows in the batch, if dlt's state cannot express it."""
        if "sub" in self._last and sequence == self._last["after"]:
            return dict(self._last)
        return {"after": sequence} if "sub" in self._first else None


def _is_part(checkpoint: Mapping[str, Any] | None, shard: str, sequence: str) -> bool:
    """Whether only some messages of this record were read, which only the checkpoint can express."""
    try:
        position = (checkpoint or {})["shards"][shard]
        return position["after"] == sequence and "sub" in position
    except (KeyError, TypeError):
        return False


def discover(component: Component, config: Any, transport: Transport) -> str:
    """Returns the checkpoint of a first run that has read nothing: every shard, at the position where it starts.

    If a checkpoint names only some shards, the others are read from their first record.
    """
    origin = time.monotonic()

    def now() -> int:
        return int((time.monotonic() - origin) * 1000)

    present = int(max(0.0, time.time()) * 1000)
    reader = component.open(config, None, random.SystemRandom().getrandbits(64), 0, present)
    for _ in range(ACTIONS_MAX):
        match reader.poll():
            case Request(operation="get-shard-iterator" | "get-records"):
                return reader.checkpoint()
            case Request() as request:
                _send(reader, transport, request, origin, now)
            case Finished(error=error):
                if error is not None:
                    raise error
                return reader.checkpoint()
            case Wait(until=until):
                time.sleep(max(WAIT_MIN, ((until or 0) - now()) / 1000))
                reader.handle_timeout(now())
    raise Error("the discovery does not end")


def _send(reader: Reader, transport: Transport, request: Request, origin: float, now: Callable[[], int]) -> None:
    result = transport.send(request, origin + request.deadline / 1000)
    if isinstance(result, Failure):
        reader.handle_failure(request.id, result, now())
    else:
        reader.handle_response(request.id, result, now())
