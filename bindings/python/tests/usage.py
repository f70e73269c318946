"""Type-checked by a test: what the package's types permit, and what they refuse."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memory import Memory

from kinesis_reader import Batch, Outcome, ReadOptions, aread, aread_batches, read, read_batches

if TYPE_CHECKING:
    from typing_extensions import assert_type


class AsyncMemory:
    async def load(self) -> str | None:
        return None

    async def save(self, checkpoint: str) -> None: ...


def messages() -> None:
    options: ReadOptions = {"start": timedelta(hours=1), "until": datetime.now(timezone.utc), "state": Memory()}
    with read("orders", **options) as run:
        for message in run:
            assert_type(message, dict[str, Any])
            run.ack()
    assert_type(run.outcome, Outcome | None)
    if run.outcome == "limited" and run.gaps:
        print(run.gaps[0].shard, run.checkpoint)


def batches() -> None:
    for batch in read_batches("orders", behind=10, pace="off", invalid_records=Path("invalid.ndjson")):
        assert_type(batch, Batch)
        batch.ack()


async def asynchronously() -> None:
    async with aread("orders", state=AsyncMemory(), invalid_records=print) as run:
        async for message in run:
            assert_type(message, dict[str, Any])
            await run.ack()
    async for batch in aread_batches("orders", state=Memory()):
        await batch.ack()


def mistakes() -> None:
    # Each comment must be needed, or mypy reports it.
    read()  # type: ignore[call-arg]
    read("orders", "1h ago")  # type: ignore[call-arg]
    read("orders", page_record=1)  # type: ignore[call-arg]
    read("orders", payload="xml")  # type: ignore[arg-type]
    read("orders", state=AsyncMemory())  # type: ignore[arg-type]
    read("orders").outcome == "reachd"  # type: ignore[comparison-overlap] # noqa: B015
    read_batches("orders").ack()  # type: ignore[attr-defined]
