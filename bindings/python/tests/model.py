"""A model of Kinesis that misbehaves on demand, as no emulator does.

It splits listings into pages, closes shards without warning, refuses requests, expires shard iterators, lags and hangs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Record:
    sequence: str
    data: bytes
    arrived: float
    key: str | None = "key"


@dataclass
class Shard:
    id: str
    parents: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    closed: bool = False

    def add(self, payload: Any, sequence: int | None = None, arrived: float | None = None) -> Record:
        """Appends a record, with the next sequence number unless another is given."""
        if sequence is None:
            sequence = int(self.records[-1].sequence) + 1 if self.records else FIRST_SEQUENCE
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        record = Record(str(sequence), data, time.time() if arrived is None else arrived)
        self.records.append(record)
        return record


@dataclass(frozen=True)
class Received:
    """A request that was received."""

    operation: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def aggregate(*payloads: bytes, key: str = "key") -> bytes:
    """Returns the data of an aggregated record whose user records have these payloads and one partition key.

    See <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>.
    """

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2]) + varint(len(data)) + data

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    records = (field(3, b"\x08\x00" + field(3, payload)) for payload in payloads)
    message = field(1, key.encode()) + b"".join(records)
    return b"\xf3\x89\x9a\xc2" + message + hashlib.md5(message).digest()


def refusal(code: str, message: str = "", status: int = 400) -> Reply:
    """Returns an error in the form of Kinesis."""
    return Reply(status, {"__type": code, "message": message})


Hook = Callable[["Model", Received], Reply | None]

FIRST_SEQUENCE = 49680494486978134087712285440334700307172411538434686978


class Model:
    """An HTTP server with one stream. `hook` receives each request first, and may answer it."""

    def __init__(self, shards: int = 1, hook: Hook | None = None) -> None:
        self.shards: dict[str, Shard] = {}
        self.hook = hook
        self.requests: list[Received] = []
        self.shards_per_listing = 1000
        self.last_page_has_children = True
        self.lag_ms: Callable[[Shard, int], int] = lambda shard, unread: 60_000 if unread else 0
        self.clock_skew = 0.0
        self.most_in_flight = 0
        """The greatest number of `GetRecords` requests in flight at a time."""
        self._in_flight = 0
        self._lock = threading.Lock()
        for n in range(shards):
            self.shard(n)
        self._server = _server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def shard(self, number: int, *parents: Shard) -> Shard:
        """Adds a shard and closes its parents."""
        shard = Shard(f"shardId-{number:012}", [parent.id for parent in parents])
        for parent in parents:
            parent.closed = True
        self.shards[shard.id] = shard
        return shard

    def __getitem__(self, number: int) -> Shard:
        return self.shards[f"shardId-{number:012}"]

    def count(self, operation: str) -> int:
        """Counts the requests for an operation."""
        return sum(request.operation == operation for request in self.requests)

    def answer(self, request: Received) -> Reply:
        with self._lock:
            self.requests.append(request)
            self._in_flight += request.operation == "GetRecords"
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            if self.hook is not None and (reply := self.hook(self, request)) is not None:
                return reply
            with self._lock:
                return Reply(200, getattr(self, f"_{request.operation}")(request.body))
        except Refusal as error:
            return refusal(*error.args)
        finally:
            with self._lock:
                self._in_flight -= request.operation == "GetRecords"

    def _DescribeStreamSummary(self, body: dict[str, Any]) -> Any:
        return {
            "StreamDescriptionSummary": {
                "StreamName": body.get("StreamName", "orders"),
                "StreamARN": f"arn:aws:kinesis:us-east-1:000000000000:stream/{body.get('StreamName', 'orders')}",
                "StreamStatus": "ACTIVE",
                "RetentionPeriodHours": 24,
                "StreamCreationTimestamp": 1763900000.0,
                "EnhancedMonitoring": [],
                "OpenShardCount": sum(not shard.closed for shard in self.shards.values()),
            }
        }

    def _ListShards(self, body: dict[str, Any]) -> Any:
        start = int(body.get("NextToken", 0))
        if start and "StreamName" in body:
            raise Refusal("InvalidArgumentException", "NextToken and StreamName cannot be provided together.")
        shards = list(self.shards.values())
        page = shards[start : start + self.shards_per_listing]
        listing: dict[str, Any] = {"Shards": [self.describe(shard) for shard in page]}
        if start + len(page) < len(shards):
            listing["NextToken"] = str(start + len(page))
        return listing

    def describe(self, shard: Shard) -> Any:
        """Returns a shard as in a listing."""
        listed: dict[str, Any] = {
            "ShardId": shard.id,
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(2**128 - 1)},
            "SequenceNumberRange": {"StartingSequenceNumber": "1"},
        }
        if shard.closed:
            listed["SequenceNumberRange"]["EndingSequenceNumber"] = "9" * 56
        for name, parent in zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False):
            listed[name] = parent
        return listed

    def _GetShardIterator(self, body: dict[str, Any]) -> Any:
        shard = self.shards.get(body["ShardId"])
        if shard is None:
            raise Refusal("ResourceNotFoundException", f"Shard {body['ShardId']} does not exist")
        match body["ShardIteratorType"]:
            case "TRIM_HORIZON":
                index = 0
            case "LATEST":
                index = len(shard.records)
            case "AT_TIMESTAMP":
                at = body["Timestamp"]
                index = sum(round(record.arrived, 3) < round(at, 3) for record in shard.records)
            case "AFTER_SEQUENCE_NUMBER":
                after = int(body["StartingSequenceNumber"])
                index = sum(int(record.sequence) <= after for record in shard.records)
            case "AT_SEQUENCE_NUMBER":
                at = int(body["StartingSequenceNumber"])
                index = sum(int(record.sequence) < at for record in shard.records)
            case other:
                raise Refusal("InvalidArgumentException", other)
        return {"ShardIterator": f"{shard.id}/{index}"}

    def _GetRecords(self, body: dict[str, Any]) -> Any:
        shard_id, index = body["ShardIterator"].split("/")
        shard, start = self.shards[shard_id], int(index)
        records = shard.records[start : start + body.get("Limit", 10_000)]
        end = start + len(records)
        unread = len(shard.records) - end
        page: dict[str, Any] = {
            "Records": [
                {
                    "SequenceNumber": record.sequence,
                    "ApproximateArrivalTimestamp": record.arrived,
                    "Data": base64.b64encode(record.data).decode(),
                }
                | ({} if record.key is None else {"PartitionKey": record.key})
                for record in records
            ],
            "MillisBehindLatest": self.lag_ms(shard, unread),
        }
        if unread or not shard.closed:
            page["NextShardIterator"] = f"{shard_id}/{end}"
        elif self.last_page_has_children:
            children = [child for child in self.shards.values() if shard_id in child.parents]
            page["ChildShards"] = [
                {
                    "ShardId": child.id,
                    "ParentShards": child.parents,
                    "HashKeyRange": self.describe(child)["HashKeyRange"],
                }
                for child in children
            ]
        return page


class Refusal(Exception):
    """The service refuses a request, with this code and message."""


def _server(model: Model) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Sends headers and body in one packet.
        wbufsize = -1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers["X-Amz-Target"].split(".")[1]
            reply = model.answer(Received(operation, json.loads(body), dict(self.headers.items()), time.monotonic()))
            data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response_only(reply.status)
            headers = {
                "Content-Type": "application/x-amz-json-1.1",
                "Content-Length": str(len(data)),
                "Date": formatdate(time.time() + model.clock_skew, usegmt=True),
                "x-amzn-requestid": "00000000-0000-0000-0000-000000000000",
            }
            for name, value in (headers | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()
            if int((headers | reply.headers)["Content-Length"]) != len(data):
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    return Server(("127.0.0.1", 0), Handler)
