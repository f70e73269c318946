"""The component that holds the reader: loaded, called, and its values as Python's.

This is the only module that names wasmtime. The component imports nothing, so it can do nothing but compute, in memory
and time that are bounded. wasmtime's Python package gives a record as an object with an attribute for each field, a
variant as `Variant(tag, payload)`, and without the tag where the types of the cases' payloads differ in Python; strings
cross fast and lists of bytes a byte at a time, so everything large crosses as a string.
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
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import wasmtime
import wasmtime._ffi as ffi
import wasmtime.component as wc

from . import _cache
from ._errors import Error, OptionError, ReadError, StateError
from ._printable import printable

INTERFACE = "kinesis:reader/reading@0.2.0"

MEMORY_MAX = 512 << 20
"""Bytes of memory that a reader may take. A page of 10 MiB takes some 14 MiB, and as much again while it comes in."""

CALL_TIME_MAX = 30
"""Ticks that a call may take."""

TICK = 1.0
"""Seconds. The engine's clock is looked at by what it runs, and moved on by a thread."""


@dataclass(frozen=True)
class Request:
    """A request to send."""

    id: int
    operation: str
    shard: str | None
    target: str
    body: str
    deadline: int


@dataclass(frozen=True)
class Response:
    """An HTTP response of any status.

    `body` is UTF-8, as it came: a text of Python's can take four times as much memory. `date`, which the response has,
    and `signed`, which its request was signed with, are in milliseconds since the Unix epoch.
    """

    status: int
    body: bytearray
    aws_request_id: str | None
    date: int | None
    signed: int | None


@dataclass(frozen=True)
class Failure:
    """Why there is no response, and whether trying again may help."""

    why: str
    transient: bool


@dataclass(frozen=True)
class Wait:
    """Come back at `until`, or when there is an answer."""

    until: int | None
    reason: str


@dataclass(frozen=True)
class Gap:
    """Records of a shard may be unread: those after the message of this sequence number have left the stream.

    `ahead`: or the checkpoint had the shard at this time, in milliseconds since the Unix epoch, which is yet to come.
    """

    shard: str
    after: str | None
    ahead: int | None = None


@dataclass(frozen=True)
class Retry:
    """A request failed, as told, and will be tried again."""

    why: str


@dataclass(frozen=True)
class Seen:
    """A shard was found, or is in a state that is final for this run."""

    shard: str
    state: str


@dataclass(frozen=True)
class Finished:
    """How it ended: `reached`, `exhausted`, `limited`, `stopped`, or `failed` with an error."""

    outcome: str
    error: ReadError | None


class Batch:
    """The messages of one page, or of a part of it, as they lie in the component. To be dropped when done."""

    def __init__(self, calls: _Calls, resource: Any) -> None:
        self._calls = calls
        self._resource = resource
        self.id: int = calls("[method]batch.id", resource)
        self.shard: str = calls("[method]batch.shard", resource)
        self.count: int = calls("[method]batch.count", resource)
        self.behind: int = calls("[method]batch.behind", resource)
        self.checkpoint: str = calls("[method]batch.checkpoint", resource)
        self.invalid = 0
        """How many messages of the pieces taken are not as `payload` asks."""

    def pieces(self, size: int) -> list[str]:
        """All the lines, in pieces of whole lines of about `size` bytes."""
        pieces = []
        skip = 0
        while skip < self.count:
            lines = self._calls("[method]batch.lines", self._resource, skip, size)
            pieces.append(lines.text)
            skip += lines.count
            self.invalid += lines.invalid
        return pieces

    def invalid_lines(self, size: int) -> Iterator[str]:
        """The lines of messages that are not as `payload` asks, with the reason, in pieces as those of all lines."""
        skip = 0
        while skip < self.count:
            invalid_lines = self._calls("[method]batch.invalid-lines", self._resource, skip, size)
            if invalid_lines.text:
                yield invalid_lines.text
            skip = invalid_lines.next

    def drop(self) -> None:
        """Gives back what the batch holds."""
        self._calls.drop(self._resource)


Notice = Gap | Retry | Seen
Action = Request | Batch | Notice | Wait | Finished


class Component:
    """A component of one's own memory, ready to open a reader."""

    def __init__(self) -> None:
        self._calls = _Calls()

    def defaults(self, stream: str) -> Any:
        """A whole configuration for the stream of this name or ARN."""
        tag = "arn" if stream.startswith("arn:") else "name"
        return self._calls("defaults", wc.Variant(tag, stream))

    def open(self, config: Any, checkpoint: str | None, seed: int, now: int, present: int) -> Reader:
        """Opens a reader. Nothing is sent until the first `poll`."""
        opened = self._calls("[static]reader.open", config, checkpoint, seed, now, present)
        if isinstance(opened, wc.Variant):
            raise _checkpoint_error(opened)
        if isinstance(opened, wc.Record):
            raise OptionError(f"{_field(opened, 'field')}: {_field(opened, 'message')}")
        return Reader(self._calls, opened)


class Reader:
    """The reader of one stream. Not shared: one call at a time."""

    def __init__(self, calls: _Calls, resource: Any) -> None:
        self._calls = calls
        self._resource = resource
        self._asked: dict[str, Any] = {}

    def poll(self) -> Action:
        """The next thing to do."""
        action = self._calls("[method]reader.poll", self._resource)
        what = action.payload
        match action.tag:
            case "send":
                return Request(what.id, what.operation, what.shard, what.target, what.body, what.deadline)
            case "deliver":
                return Batch(self._calls, what)
            case "notice":
                return _notice(what)
            case "wait":
                return Wait(what.until, what.reason)
            case "finish":
                error = _service_error(what.payload) if what.tag == "failed" else None
                return Finished(what.tag, error)
        raise Error(f"the component wants what this package does not know: {action.tag}")

    def handle_response(self, request: int, response: Response, now: int) -> None:
        """Tells of the response to a request."""
        record = _record(**vars(response) | {"body": _Utf8(response.body)})
        self._told("[method]reader.handle-response", request, record, now)

    def handle_failure(self, request: int, failure: Failure, now: int) -> None:
        """Tells that a request got no response."""
        variant = wc.Variant("transient" if failure.transient else "permanent", failure.why)
        self._told("[method]reader.handle-failure", request, variant, now)

    def handle_delivered(self, batch: int, now: int) -> None:
        """Tells that a batch is out of the component, so that the shard's next page may be asked for."""
        self._told("[method]reader.handle-delivered", batch, now)

    def handle_timeout(self, now: int) -> None:
        """Tells that time has passed."""
        self._asked.clear()
        self._calls("[method]reader.handle-timeout", self._resource, now)

    def stop(self, now: int) -> None:
        """Asks for no more pages."""
        self._asked.clear()
        self._calls("[method]reader.stop", self._resource, now)

    def checkpoint(self) -> str:
        """The position reached in every shard."""
        return str(self._ask("[method]reader.checkpoint"))

    def revision(self) -> int:
        """Counts the changes of the checkpoint."""
        return int(self._ask("[method]reader.revision"))

    def merge(self, left: str, right: str) -> str:
        """Joins two checkpoints of one stream: of each shard, the further position."""
        return _merge(self._calls, left, right)

    def _ask(self, name: str) -> Any:
        """What changes with an input only is asked for once after each."""
        if name not in self._asked:
            self._asked[name] = self._calls(name, self._resource)
        return self._asked[name]

    def _told(self, name: str, *arguments: Any) -> None:
        self._asked.clear()
        misuse = self._calls(name, self._resource, *arguments)
        if misuse is not None:
            raise Error(f"the component was driven wrongly: {misuse.tag} {misuse.payload}")


def merge_checkpoints(left: str, right: str) -> str:
    """Joins two checkpoints of one stream: of each shard, the further position.

    The join is associative, commutative and idempotent, so checkpoints kept by several writers may be joined in any
    order, any number of times. Raises `StateError` where a text is no checkpoint, or they are of different streams.
    """
    return _merge(_Calls(), left, right)


def change(record: Any, changes: Mapping[str, Any]) -> None:
    """Sets fields of a record, by their names in the WIT. A name that it does not have is a mistake of this package."""
    for name, value in changes.items():
        if not hasattr(record, name):
            raise Error(f"the component knows no such field: {name}")
        setattr(record, name, value)


def variant(tag: str, payload: Any = None) -> Any:
    """A value of a variant type."""
    return wc.Variant(tag, payload)


class _Calls:
    """The functions of a component in memory of its own, by their names in the WIT."""

    def __init__(self) -> None:
        engine, component = _compiled()
        self._store = wasmtime.Store(engine)
        self._store.set_limits(memory_size=MEMORY_MAX)
        _clock.run(engine)
        self._instance: wc.Instance = self._bounded(wc.Linker(engine).instantiate, component)
        self._interface = self._instance.get_export_index(self._store, INTERFACE)
        self._functions: dict[str, wc.Func] = {}
        if self._interface is None:
            raise Error(f"the component has no interface {INTERFACE}", f"it is of another version: {component_path()}")

    def __call__(self, name: str, *arguments: Any) -> Any:
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self._find(name)
        return self._bounded(function, *arguments)

    def _bounded(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self._store.set_epoch_deadline(CALL_TIME_MAX)
        try:
            return function(self._store, *arguments)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            # What the component holds is lost with it, and nothing else: the next run goes on from the checkpoint.
            if "wasm trap: interrupt" in str(error):
                raise Error(f"the component did not end a call in time: {CALL_TIME_MAX * TICK:g} s") from error
            # The cause is the last line, after the backtrace.
            raise Error(f"the component failed: {str(error).strip().splitlines()[-1].strip()}") from error

    def drop(self, resource: Any) -> None:
        resource.drop(self._store)

    def _find(self, name: str) -> wc.Func:
        index = self._instance.get_export_index(self._store, name, self._interface)
        function = None if index is None else self._instance.get_func(self._store, index)
        if function is None:
            raise Error(f"the component has no function {name}", f"it is of another version: {component_path()}")
        kind = function.type(self._store)
        known = SimpleNamespace(params=[(n, _known(t)) for n, t in kind.params], result=_known(kind.result))
        function.type = lambda store: known  # type: ignore[method-assign, assignment, return-value]
        return function


def _known(kind: Any) -> Any:
    """A type of the component's that asks once what it is made of.

    wasmtime's own types ask the engine each time, all the way down, which takes several times as long as the call.
    """
    for own in (_Record, _Variant, _Option, _Result, _List, _String):
        if type(kind) is own.__base__:
            kind.__class__ = own
    return kind


@dataclass(frozen=True)
class _Utf8:
    """A string, encoded."""

    data: bytearray


def _bytes(text: Any) -> tuple[Any, Any]:
    """The bytes of a string, and what ctypes can copy them from."""
    if type(text) is _Utf8:
        return text.data, (ctypes.c_char * len(text.data)).from_buffer(text.data)
    data = text if type(text) is bytes else text.encode()
    return data, data


class _String(wc.String):
    """A string that is copied once on its way, of which wasmtime's own makes several copies."""

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
        return [(name, _known(kind)) for name, kind in super().fields]


class _Variant(wc.VariantType):
    @functools.cached_property
    def cases(self) -> Any:
        return [(name, _known(kind)) for name, kind in super().cases]

    def _tagged(self) -> bool:
        return self._is_tagged

    @functools.cached_property
    def _is_tagged(self) -> bool:
        return super()._tagged()


class _Option(wc.OptionType):
    @functools.cached_property
    def payload(self) -> Any:
        return _known(super().payload)


class _Result(wc.ResultType):
    @functools.cached_property
    def ok(self) -> Any:
        return _known(super().ok)

    @functools.cached_property
    def err(self) -> Any:
        return _known(super().err)


class _List(wc.ListType):
    @functools.cached_property
    def element(self) -> Any:
        return _known(super().element)


class _Clock:
    """Moves an engine's clock on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def run(self, engine: wasmtime.Engine) -> None:
        """Begins, unless it runs: a process that was forked has none of the threads of the one that it was made of."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._tick, args=(engine,), name="kinesis-reader-clock", daemon=True
                )
                self._thread.start()

    def _tick(self, engine: wasmtime.Engine) -> None:
        while True:
            time.sleep(TICK)
            engine.increment_epoch()


_clock = _Clock()


def component_path() -> Path:
    """The component's file: the one of this package, or the one that `KINESIS_READER_COMPONENT` names."""
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
        hint = "install the package as a wheel; in a checkout, build the component with `cargo xtask guest`"
        raise Error(f"the component cannot be read: {printable(path)} ({error.strerror})", hint) from error
    # wasmtime's own cache does not check what it loads. Without a cache, loading takes some 0.2 s.
    key = _cache.key(data, version("wasmtime"), sys.platform, platform.machine())
    code = _cache.get(key)
    if code is not None:
        # Code for another processor is compiled again.
        with contextlib.suppress(wasmtime.WasmtimeError):
            return engine, wc.Component.deserialize(engine, code)
    try:
        component = wc.Component(engine, data)
    except wasmtime.WasmtimeError as error:
        raise Error(f"the component cannot be loaded: {printable(path)} ({printable(error)})") from error
    _cache.put(key, bytes(component.serialize()))
    return engine, component


def _record(**fields: Any) -> Any:
    record = wc.Record()
    vars(record).update(fields)
    return record


def _field(record: Any, name: str) -> Any:
    return vars(record)[name]


def _merge(calls: _Calls, left: str, right: str) -> str:
    merged = calls("merge-checkpoints", left, right)
    if isinstance(merged, wc.Variant):
        raise _checkpoint_error(merged)
    return str(merged)


def _checkpoint_error(error: Any) -> StateError:
    if error.tag == "foreign":
        return StateError(
            f"the checkpoint belongs to another stream: {printable(error.payload)}",
            "name the stream that it belongs to, or give this stream another state",
        )
    return StateError(
        f"the checkpoint is damaged: {printable(error.payload)}",
        "bring it back from a copy, or move it away to begin anew",
    )


def _notice(notice: Any) -> Notice:
    what = notice.payload
    match notice.tag:
        case "gap":
            return Gap(what.shard, what.after, what.ahead)
        case "retry":
            return Retry(_in_words(what))
        case "shard":
            return Seen(what.shard, what.state)
    raise Error(f"the component tells what this package does not know: {notice.tag}")


def gap_in_words(gap: Any) -> str:
    """Records that were not read are skipped."""
    shard = printable(gap.shard)
    if gap.ahead is not None:
        return (
            f"the checkpoint of {shard} is ahead of the present, at {gap.ahead} ms since 1970: "
            "records that arrived since may be unread"
        )
    words = f"records of {shard} have left the stream and may be unread"
    return words if gap.after is None else f"{words}: those that follow {printable(gap.after)}"


def _in_words(error: Any) -> str:
    cause = error.cause
    operation = "".join(word.capitalize() for word in error.operation.split("-"))
    about = operation if error.shard is None else f"{operation} of {printable(error.shard)}"
    match cause.tag:
        case "rejected":
            rejection = cause.payload
            words = f"{about} was refused: {printable(rejection.code)}"
            words += f": {printable(rejection.message)}" if rejection.message else ""
            words += f" (request {printable(rejection.aws_request_id)})" if rejection.aws_request_id else ""
        case "unintelligible":
            words = f"{about} has an answer that cannot be understood: {printable(cause.payload)}"
        case "failure":
            words = f"{about} has no answer: {printable(cause.payload.payload)}"
        case "timeout":
            words = f"{about} has no answer in time"
        case "recreated":
            return f"the checkpoint is of another stream of this name: {printable(cause.payload)}"
        case "gap":
            return gap_in_words(cause.payload)
        case _:
            words = f"{about} failed: {cause.tag}"
    return words if error.attempts <= 1 else f"{words}, after {error.attempts} tries"


def _service_error(error: Any) -> ReadError:
    cause = error.cause
    code = None
    match cause.tag:
        case "rejected":
            code, hint = cause.payload.code, cause.payload.hint
        case "unintelligible":
            hint = "look whether the endpoint is a Kinesis"
        case "recreated":
            hint = 'the stream was deleted and made again: read it with another state, or with recreated="follow"'
        case "gap":
            hint = 'on_gap="continue" reads on from what is left'
        case _:
            hint = "look at the network, the region and endpoint_url; run again to go on from here"
    return ReadError(_in_words(error), hint, code)
