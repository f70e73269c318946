"""Loads and calls the component that holds the reader, and converts its values to Python's.

This is the only module that uses wasmtime. The component imports nothing, so it can only compute, within limits on
memory and time.

wasmtime's Python package represents a record as an object with an attribute for each field, and a variant as
`Variant(tag, payload)`, or as the payload alone if the payloads of its cases have different Python types. It copies
strings quickly, but lists one byte at a time, so everything large crosses the boundary as a string.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import wasmtime
import wasmtime._ffi as ffi
import wasmtime.component as wc

from . import _cache
from ._errors import Error, OptionError, ReadError, StateError
from ._printable import printable

INTERFACE = "kinesis:reader/reading@0.2.0"

MEMORY_MAX = 512 << 20
"""Bytes of memory for a reader. A page of 10 MiB takes about 14 MiB, and as much again while it arrives."""

CALL_TIME_MAX = 30
"""Ticks for one call."""

TICK = 1.0
"""Seconds. A thread advances the engine's epoch, and compiled code checks it."""

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

TIMESTAMP_MAX = 253_402_300_799_999
"""The last millisecond that a `datetime` can hold."""

Outcome = Literal["reached", "exhausted", "limited", "failed"]
"""How a run ended: `until` was reached, all shards are closed and drained, `max_messages` were delivered, or it
failed."""

Operation = Literal["describe-stream-summary", "list-shards", "get-shard-iterator", "get-records"]

WaitReason = Literal["response", "delivery", "pace", "backoff", "listing"]

ShardState = Literal[
    "blocked",
    "seeking",
    "sought",
    "ready",
    "reading",
    "delivering",
    "ending",
    "caught-up",
    "drained",
    "failed",
]


@dataclass(frozen=True)
class Request:
    """A request to send."""

    id: int
    operation: Operation
    shard: str | None
    target: str
    body: str
    deadline: int


@dataclass(frozen=True)
class Response:
    """An HTTP response of any status.

    `body` is UTF-8, because a `str` can take four times as much memory. `date`, which the response has, and `signed`,
    with which its request was signed, are in milliseconds since the Unix epoch.
    """

    status: int
    body: bytearray
    aws_request_id: str | None
    date: int | None
    signed: int | None


@dataclass(frozen=True)
class Failure:
    """Why there is no response, and whether a retry may help."""

    message: str
    transient: bool


@dataclass(frozen=True)
class Wait:
    """Poll again at `until`, or when there is an answer."""

    until: int | None
    reason: WaitReason


@dataclass(frozen=True)
class Gap:
    """Records of a shard may have left the stream before they were read."""

    shard: str
    after: str | None
    """The sequence number of the last message before the gap, if there was one."""
    ahead: int | None = None
    """Set if the checkpoint was in the future, because it was saved with a wrong clock: its time, in milliseconds since
    the Unix epoch."""


@dataclass(frozen=True)
class Retry:
    """A request failed and will be sent again."""

    message: str


@dataclass(frozen=True)
class ShardNotice:
    """A shard was found, or reached a state that is final for this run."""

    shard: str
    state: ShardState


@dataclass(frozen=True)
class Finished:
    """The run has ended, with an error if its outcome is `failed`."""

    outcome: Outcome
    error: ReadError | None


class Batch:
    """The messages of one page, or of a part of it, inside the component. Drop it when done."""

    def __init__(self, exports: _Exports, resource: Any) -> None:
        self._exports = exports
        self._resource = resource
        self.id: int = exports("[method]batch.id", resource)
        self.shard: str = exports("[method]batch.shard", resource)
        self.count: int = exports("[method]batch.count", resource)
        self.behind: int = exports("[method]batch.behind", resource)
        self.checkpoint: str = exports("[method]batch.checkpoint", resource)
        self.invalid = 0
        """The number of invalid records in the pieces that were taken."""

    def pieces(self, size: int) -> list[str]:
        """Returns all lines, in pieces of whole lines of about `size` bytes."""
        pieces = []
        skip = 0
        while skip < self.count:
            lines = self._exports("[method]batch.lines", self._resource, skip, size)
            pieces.append(lines.text)
            skip += lines.count
            self.invalid += lines.invalid
        return pieces

    def invalid_lines(self, size: int) -> Iterator[str]:
        """Yields the lines of the invalid records, each with the reason, in pieces of about `size` bytes."""
        skip = 0
        while skip < self.count:
            invalid_lines = self._exports("[method]batch.invalid-lines", self._resource, skip, size)
            if invalid_lines.text:
                yield invalid_lines.text
            skip = invalid_lines.next

    def drop(self) -> None:
        """Frees the memory of the batch."""
        self._exports.drop(self._resource)


Notice = Gap | Retry | ShardNotice
Action = Request | Batch | Notice | Wait | Finished


class Component:
    """An instance of the component, with its own memory, for one reader."""

    def __init__(self) -> None:
        self._exports = _Exports()

    def defaults(self, stream: str) -> Any:
        """Returns the default configuration for the stream with this name or ARN."""
        tag = "arn" if stream.startswith("arn:") else "name"
        return self._exports("defaults", wc.Variant(tag, stream))

    def open(self, config: Any, checkpoint: str | None, seed: int, now: int, present: int) -> Reader:
        """Opens a reader. Nothing is sent until the first `poll`."""
        opened = self._exports("[static]reader.open", config, checkpoint, seed, now, present)
        if isinstance(opened, wc.Variant):
            raise _checkpoint_error(opened)
        if isinstance(opened, wc.Record):
            raise OptionError(f"{_field(opened, 'field')}: {_field(opened, 'message')}")
        return Reader(self._exports, opened)


class Reader:
    """The reader of one stream. It takes one call at a time."""

    def __init__(self, exports: _Exports, resource: Any) -> None:
        self._exports = exports
        self._resource = resource
        self._cached: dict[str, Any] = {}

    def poll(self) -> Action:
        """Returns the next thing to do."""
        action = self._exports("[method]reader.poll", self._resource)
        value = action.payload
        match action.tag:
            case "send":
                return Request(value.id, value.operation, value.shard, value.target, value.body, value.deadline)
            case "deliver":
                return Batch(self._exports, value)
            case "notice":
                return _notice(value)
            case "wait":
                return Wait(value.until, value.reason)
            case "finish":
                error = _service_error(value.payload) if value.tag == "failed" else None
                return Finished(value.tag, error)
        raise Error(f"unknown action of the component: {action.tag}")

    def handle_response(self, request: int, response: Response, now: int) -> None:
        """Reports the response to a request."""
        record = _record(
            {
                "status": response.status,
                "body": _Utf8(response.body),
                "aws-request-id": response.aws_request_id,
                "date": response.date,
                "signed": response.signed,
            }
        )
        self._input("[method]reader.handle-response", request, record, now)

    def handle_failure(self, request: int, failure: Failure, now: int) -> None:
        """Reports that a request got no response."""
        variant = wc.Variant("transient" if failure.transient else "permanent", failure.message)
        self._input("[method]reader.handle-failure", request, variant, now)

    def handle_delivered(self, batch: int, now: int) -> None:
        """Reports that a batch was taken out of the component, so that the shard's next page may be requested."""
        self._input("[method]reader.handle-delivered", batch, now)

    def handle_timeout(self, now: int) -> None:
        """Reports that time has passed."""
        self._cached.clear()
        self._exports("[method]reader.handle-timeout", self._resource, now)

    def checkpoint(self) -> str:
        """Returns the position in every shard."""
        return str(self._get("[method]reader.checkpoint"))

    def revision(self) -> int:
        """Returns the number of changes of the checkpoint."""
        return int(self._get("[method]reader.revision"))

    def merge(self, left: str, right: str) -> str:
        """Joins two checkpoints of one stream: for each shard, the later position."""
        return _merge(self._exports, left, right)

    def _get(self, name: str) -> Any:
        """Gets a value that only an input can change."""
        if name not in self._cached:
            self._cached[name] = self._exports(name, self._resource)
        return self._cached[name]

    def _input(self, name: str, *arguments: Any) -> None:
        self._cached.clear()
        misuse = self._exports(name, self._resource, *arguments)
        if misuse is not None:
            raise Error(f"misuse of the component: {misuse.tag} {misuse.payload}")


def merge_checkpoints(left: str, right: str) -> str:
    """Joins two checkpoints of one stream: for each shard, the later position.

    The join is associative, commutative and idempotent, so checkpoints of several writers may be joined in any order,
    any number of times. Raises `StateError` if a checkpoint is invalid, or if they belong to different streams.
    """
    return _merge(_Exports(), left, right)


def change(record: Any, changes: Mapping[str, Any]) -> None:
    """Sets fields of a record, by their names in the WIT. A name that it does not have is a bug in this package."""
    for name, value in changes.items():
        if not hasattr(record, name):
            raise Error(f"unknown field of the component: {name}")
        setattr(record, name, value)


def variant(tag: str, payload: Any = None) -> Any:
    """Returns a value of a variant type."""
    return wc.Variant(tag, payload)


class _Exports:
    """The functions of an instance of the component, by their names in the WIT."""

    def __init__(self) -> None:
        engine, component = _compiled()
        self._store = wasmtime.Store(engine)
        self._store.set_limits(memory_size=MEMORY_MAX)
        _ticker.run(engine)
        self._instance: wc.Instance = self._limited(wc.Linker(engine).instantiate, component)
        self._interface = self._instance.get_export_index(self._store, INTERFACE)
        self._functions: dict[str, wc.Func] = {}
        if self._interface is None:
            raise Error(f"the component lacks the interface {INTERFACE}", _version_hint())

    def __call__(self, name: str, *arguments: Any) -> Any:
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self._find(name)
        return self._limited(function, *arguments)

    def _limited(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function within the limit on time."""
        self._store.set_epoch_deadline(CALL_TIME_MAX)
        try:
            return function(self._store, *arguments)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            # Only what the instance held is lost: the next run continues from the checkpoint.
            if "wasm trap: interrupt" in str(error):
                raise Error(f"a call of the component took too long: {CALL_TIME_MAX * TICK:g} s") from error
            # The cause is the last line, after the backtrace.
            raise Error(f"the component failed: {str(error).strip().splitlines()[-1].strip()}") from error

    def drop(self, resource: Any) -> None:
        resource.drop(self._store)

    def _find(self, name: str) -> wc.Func:
        index = self._instance.get_export_index(self._store, name, self._interface)
        function = None if index is None else self._instance.get_func(self._store, index)
        if function is None:
            raise Error(f"the component lacks the function {name}", _version_hint())
        kind = function.type(self._store)
        cached = SimpleNamespace(
            params=[(n, _cached_type(t)) for n, t in kind.params], result=_cached_type(kind.result)
        )
        function.type = lambda store: cached  # type: ignore[method-assign, assignment, return-value]
        return function


def _version_hint() -> str:
    return f"it is of another version: {component_path()}"


def _cached_type(kind: Any) -> Any:
    """Makes a type remember its parts.

    wasmtime's own types ask the engine for them in each call, all the way down, which takes several times as long as
    the call itself.
    """
    for cached in (_Record, _Variant, _Option, _Result, _List, _String):
        if type(kind) is cached.__base__:
            kind.__class__ = cached
    return kind


@dataclass(frozen=True)
class _Utf8:
    """A string in UTF-8."""

    data: bytearray


def _bytes(text: Any) -> tuple[Any, Any]:
    """Returns the bytes of a string, and an object that ctypes can copy them from."""
    if type(text) is _Utf8:
        return text.data, (ctypes.c_char * len(text.data)).from_buffer(text.data)
    data = text if type(text) is bytes else text.encode()
    return data, data


class _String(wc.String):
    """Copies a string once in each direction; wasmtime's own type makes several copies."""

    def add_classes(self, classes: set[type]) -> None:
        classes.update((str, _Utf8))

    def convert_to_c(self, store: Any, val: Any, ptr: Any) -> None:
        data, source = _bytes(val)
        space = ptr.contents
        space.kind = ffi.WASMTIME_COMPONENT_STRING
        ffi.wasm_byte_vec_new_uninitialized(ctypes.byref(space.of.string), len(data))
        ctypes.memmove(space.of.string.data, source, len(data))

    def convert_from_c(self, c: Any) -> str:
        string = c.of.string
        try:
            return str(ctypes.string_at(string.data, string.size), "utf-8")
        finally:
            ffi.wasm_byte_vec_delete(ctypes.byref(string))


class _Record(wc.RecordType):
    @functools.cached_property
    def fields(self) -> Any:
        return [(name, _cached_type(kind)) for name, kind in super().fields]


class _Variant(wc.VariantType):
    @functools.cached_property
    def cases(self) -> Any:
        return [(name, _cached_type(kind)) for name, kind in super().cases]

    def _tagged(self) -> bool:
        return self._is_tagged

    @functools.cached_property
    def _is_tagged(self) -> bool:
        return super()._tagged()


class _Option(wc.OptionType):
    @functools.cached_property
    def payload(self) -> Any:
        return _cached_type(super().payload)


class _Result(wc.ResultType):
    @functools.cached_property
    def ok(self) -> Any:
        return _cached_type(super().ok)

    @functools.cached_property
    def err(self) -> Any:
        return _cached_type(super().err)


class _List(wc.ListType):
    @functools.cached_property
    def element(self) -> Any:
        return _cached_type(super().element)


class _Ticker:
    """Advances an engine's epoch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def run(self, engine: wasmtime.Engine) -> None:
        """Starts the thread, unless it runs already. A forked process has none of its parent's threads."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._tick, args=(engine,), name="kinesis-reader-ticker", daemon=True
                )
                self._thread.start()

    def _tick(self, engine: wasmtime.Engine) -> None:
        while True:
            time.sleep(TICK)
            engine.increment_epoch()


_ticker = _Ticker()


def component_path() -> Path:
    """Returns the path of the component: that in `KINESIS_READER_COMPONENT`, or the one in this package."""
    named = os.environ.get("KINESIS_READER_COMPONENT")
    return Path(named) if named else Path(str(files(__package__).joinpath("kinesis_reader.wasm")))


@functools.cache
def _compiled() -> tuple[wasmtime.Engine, wc.Component]:
    config = wasmtime.Config()
    config.epoch_interruption = True
    engine = wasmtime.Engine(config)
    path = component_path()
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = "install the package from a wheel; in a checkout, build the component with `cargo xtask guest`"
        raise Error(f"cannot read the component: {printable(path)}: {error.strerror}", hint) from error
    # wasmtime's own cache does not check what it loads. Without a cache, loading takes about 0.2 s.
    key = _cache.key(data, version("wasmtime"), sys.platform, platform.machine())
    code = _cache.get(key)
    if code is not None:
        # Code for another processor is compiled again.
        with contextlib.suppress(wasmtime.WasmtimeError):
            return engine, wc.Component.deserialize(engine, code)
    try:
        component = wc.Component(engine, data)
    except wasmtime.WasmtimeError as error:
        raise Error(f"cannot load the component: {printable(path)}: {printable(error)}") from error
    _cache.put(key, bytes(component.serialize()))
    return engine, component


def _record(fields: Mapping[str, Any]) -> Any:
    record = wc.Record()
    vars(record).update(fields)
    return record


def _field(record: Any, name: str) -> Any:
    """Returns a field by its name in the WIT, which may contain hyphens."""
    return vars(record)[name]


def _merge(exports: _Exports, left: str, right: str) -> str:
    merged = exports("merge-checkpoints", left, right)
    if isinstance(merged, wc.Variant):
        raise _checkpoint_error(merged)
    return str(merged)


def _checkpoint_error(error: Any) -> StateError:
    if error.tag == "foreign":
        return StateError(
            f"the checkpoint belongs to another stream: {printable(error.payload)}",
            "read that stream, or give this one its own state",
        )
    return StateError(
        f"invalid checkpoint: {printable(error.payload)}",
        "restore it from a backup; or move it away, together with the messages read so far, and start over",
    )


def _notice(notice: Any) -> Notice:
    value = notice.payload
    match notice.tag:
        case "gap":
            return Gap(value.shard, value.after, value.ahead)
        case "retry":
            return Retry(_describe_error(value))
        case "shard":
            return ShardNotice(value.shard, value.state)
    raise Error(f"unknown notice of the component: {notice.tag}")


def describe_gap(gap: Any) -> str:
    """Describes a gap, which is a `Gap` or the component's record."""
    shard = printable(gap.shard)
    if gap.ahead is not None:
        at = EPOCH + timedelta(milliseconds=min(gap.ahead, TIMESTAMP_MAX))
        return f"gap in {shard}: the checkpoint is in the future, and earlier records may be unread: {_format(at)}"
    what = "records" if gap.after is None else f"records after {printable(gap.after)}"
    return f"gap in {shard}: {what} may have left the stream unread"


def _format(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _describe_error(error: Any) -> str:
    cause = error.cause
    match cause.tag:
        case "recreated":
            return f"the stream was recreated since the checkpoint: {printable(cause.payload)}"
        case "gap":
            return describe_gap(cause.payload)
    operation = "".join(word.capitalize() for word in error.operation.split("-"))
    request = operation if error.shard is None else f"{operation} of {printable(error.shard)}"
    attempts = f" ({error.attempts} attempts)" if error.attempts > 1 else ""
    return f"{request} failed: {_describe_cause(cause)}{attempts}"


def _describe_cause(cause: Any) -> str:
    match cause.tag:
        case "rejected":
            rejection = cause.payload
            message = f": {printable(rejection.message)}" if rejection.message else ""
            request_id = _field(rejection, "aws-request-id")
            suffix = f" (AWS request id {printable(request_id)})" if request_id else ""
            return f"{printable(rejection.code)}{message}{suffix}"
        case "unintelligible":
            return f"invalid answer: {printable(cause.payload)}"
        case "failure":
            return printable(cause.payload.payload)
        case "timeout":
            return "timeout"
    return str(cause.tag)


def _service_error(error: Any) -> ReadError:
    cause = error.cause
    code = None
    match cause.tag:
        case "rejected":
            code, hint = cause.payload.code, cause.payload.hint
        case "unintelligible":
            hint = "check that the endpoint is Kinesis"
        case "recreated":
            hint = 'give the new stream its own state, or set recreated="follow" to read it from its oldest record'
        case "gap":
            hint = 'set on_gap="continue" to continue with the records that are left'
        case _:
            hint = "check the network, region, credentials and endpoint_url; the next run continues from here"
    return ReadError(_describe_error(error), hint, code)
