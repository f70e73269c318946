"""What is kept between runs, in the state of the resource.

Two members are those of dlt's own Kinesis source, so that either takes up where the other stopped: under `incremental`,
written by dlt as rows pass, the last sequence number of each shard that ever had a message; under
`initial_at_timestamp` the time of the last run, from which that source reads shards that never had one. The third,
`kinesis_reader`, is the reader's checkpoint, which has a position for every shard. Of a position in two of them, the further
one counts.
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
"""What the component may want before it reads a shard: a notice for each of 10,000 shards, and requests."""

_SEQUENCE = re.compile(r"0|[1-9][0-9]{0,128}")


def beginning(
    checkpoint: Mapping[str, Any] | None,
    sequences: Mapping[str, str],
    component: Component,
    config: Any,
    transport: Transport,
) -> str | None:
    """The checkpoint to begin at: what was kept, and the sequence numbers by shard. `None`: it is the first run."""
    after = {
        shard: {"after": sequence}
        for shard, sequence in sequences.items()
        # A sequence number that is none was not written by Kinesis.
        if isinstance(sequence, str) and _SEQUENCE.fullmatch(sequence) and not _is_part(checkpoint, shard, sequence)
    }
    if checkpoint is None and not after:
        return None
    try:
        kept = json.dumps(checkpoint) if checkpoint is not None else discovery(component, config, transport)
        if not after:
            return kept
        name = json.loads(kept)["stream"]["name"]
    except (KeyError, TypeError, ValueError) as error:
        hint = "bring the pipeline's state back from a copy, or begin anew with another pipeline"
        raise StateError(f"the checkpoint in the state is damaged: {shown(error)}", hint) from error
    return merge_checkpoints(kept, json.dumps({"version": 1, "stream": {"name": name}, "shards": after}))


class Parts:
    """The records that a batch has only a part of. A record of many messages comes in several batches, or runs."""

    def __init__(self, before: str, batch: Page) -> None:
        """`before`: the checkpoint at which the batch begins."""
        self._first = json.loads(before)["shards"].get(batch.shard, {})
        self._last = json.loads(batch.shard_checkpoint)["shards"][batch.shard]

    def after(self, sequence: str) -> dict[str, Any] | None:
        """The position after the rows of this record, if dlt's state cannot express it."""
        if "sub" in self._last and sequence == self._last["after"]:
            return dict(self._last)
        return {"after": sequence} if "sub" in self._first else None


def _is_part(checkpoint: Mapping[str, Any] | None, shard: str, sequence: str) -> bool:
    """Whether only some messages of this record were read, which only the checkpoint knows."""
    try:
        position = (checkpoint or {})["shards"][shard]
        return position["after"] == sequence and "sub" in position
    except (KeyError, TypeError):
        return False


def discovery(component: Component, config: Any, transport: Transport) -> str:
    """The checkpoint of a first run before it has read anything: every shard, at the place where it begins.

    A checkpoint that names only some shards would have the others read from their first record.
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
                _ask(reader, transport, request, origin, now)
            case Finished(error=error):
                if error is not None:
                    raise error
                return reader.checkpoint()
            case Wait(until=until):
                time.sleep(max(WAIT_MIN, ((until or 0) - now()) / 1000))
                reader.handle_timeout(now())
    raise Error("the component never gets to reading a shard")


def _ask(reader: Reader, transport: Transport, request: Request, origin: float, now: Callable[[], int]) -> None:
    result = transport.send(request, origin + request.deadline / 1000)
    if isinstance(result, Failure):
        reader.handle_failure(request.id, result, now())
    else:
        reader.handle_response(request.id, result, now())
