"""Runs the emulator ferrokinesis as a child process, and fills its streams."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable, Iterable
from typing import Any

import botocore.session

REGION = "us-east-1"

_names = itertools.count()


class Emulator:
    """An emulator, which exits when its standard input is closed."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url.startswith("http://"), f"no emulator: {program}"
        session = botocore.session.Session()
        session.set_credentials("test", "test")
        self.client = session.create_client("kinesis", region_name=REGION, endpoint_url=self.url)

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
        self.client.close()

    def stream(self, shards: int = 1, name: str | None = None) -> Stream:
        """Creates a stream, with a unique name by default."""
        name = name or f"stream-{next(_names)}"
        self.client.create_stream(StreamName=name, ShardCount=shards)
        stream = Stream(self.client, name)
        stream.settle()
        return stream


class Stream:
    """A stream of the emulator."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name

    def put(self, payloads: Iterable[Any], key: Callable[[int], str] = lambda n: f"key-{n % 97}") -> None:
        """Puts records: bytes as they are, everything else as JSON."""
        records = [
            {"Data": p if isinstance(p, bytes) else json.dumps(p).encode(), "PartitionKey": key(n)}
            for n, p in enumerate(payloads)
        ]
        for start in range(0, len(records), 500):
            answer = self.client.put_records(StreamName=self.name, Records=records[start : start + 500])
            assert answer.get("FailedRecordCount", 0) == 0, answer

    def numbers(self, first: int, end: int) -> None:
        """Puts `{"n": …}` with these numbers, spread over the shards."""
        self.put({"n": n, "item": "kettle", "price": n % 500 / 4} for n in range(first, end))

    def shards(self) -> list[dict[str, Any]]:
        """Lists the shards."""
        listed: list[dict[str, Any]] = self.client.list_shards(StreamName=self.name)["Shards"]
        return listed

    def open_shards(self) -> list[dict[str, Any]]:
        """Lists the open shards, in the order of their hash key ranges."""
        shards = [s for s in self.shards() if "EndingSequenceNumber" not in s["SequenceNumberRange"]]
        return sorted(shards, key=lambda s: int(s["HashKeyRange"]["StartingHashKey"]))

    def split(self, shard: dict[str, Any]) -> None:
        """Splits a shard in the middle."""
        first, last = (int(shard["HashKeyRange"][f"{end}HashKey"]) for end in ("Starting", "Ending"))
        middle = str((first + last) // 2 + 1)
        self.client.split_shard(StreamName=self.name, ShardToSplit=shard["ShardId"], NewStartingHashKey=middle)
        self.settle()

    def merge(self, shard: dict[str, Any], neighbour: dict[str, Any]) -> None:
        """Merges two adjacent shards."""
        self.client.merge_shards(
            StreamName=self.name, ShardToMerge=shard["ShardId"], AdjacentShardToMerge=neighbour["ShardId"]
        )
        self.settle()

    def settle(self) -> None:
        """Waits until the stream can be written to."""
        while True:
            summary = self.client.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]
            if summary["StreamStatus"] == "ACTIVE":
                return
