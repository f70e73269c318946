"""Answers that are too large, that never end, or that have an implausible date."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from memory import Memory
from model import Model, Reply, refusal
from raw import HEAD, Raw, Script, answer

from kinesis_reader import read
from kinesis_reader._component import Failure, Request, Response
from kinesis_reader._signing import SIGNABLE_MAX, Clock, parse_http_date
from kinesis_reader._transport import Transport

KIB, MIB = 1 << 10, 1 << 20


def connect(url: str, read_timeout: float = 30.0) -> Transport:
    return Transport.connect("orders", None, None, url, None, 4, read_timeout)


def request(operation: str = "list-shards") -> Request:
    return Request(1, operation, None, "Kinesis_20131202.ListShards", "{}", 0)


def pieces(size: int) -> Iterator[bytes]:
    for start in range(0, size, MIB):
        yield b"x" * min(MIB, size - start)


@pytest.mark.parametrize("framing", ["length", "chunked", "until the end"])
@pytest.mark.parametrize(
    ("operation", "size_max", "expected"),
    [
        ("get-records", 64 * MIB, Failure("is larger than 64 MiB", False)),
        ("list-shards", 16 * MIB, Failure("is larger than 16 MiB", False)),
        ("get-shard-iterator", 64 * KIB, Failure("is larger than 64 KiB", True)),
        ("describe-stream-summary", 64 * KIB, Failure("is larger than 64 KiB", True)),
    ],
)
def test_the_maximum_size_of_an_answer_depends_on_the_operation(
    raw: Callable[[Script], Raw], operation: str, size_max: int, expected: Failure, framing: str
) -> None:
    def script(request: bytes) -> Iterator[bytes]:
        match framing:
            case "length":
                yield HEAD + f"Content-Length: {size}\r\n\r\n".encode()
                yield from pieces(size)
            case "chunked":
                yield HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
                for piece in pieces(size):
                    yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
                yield b"0\r\n\r\n"
            case _:
                yield HEAD + b"Connection: close\r\n\r\n"
                yield from pieces(size)
                yield b""

    transport = connect(raw(script).url)
    size = size_max
    result = transport.send(request(operation))
    assert isinstance(result, Response) and len(result.body) == size_max
    size = size_max + 1
    result = transport.send(request(operation))
    assert isinstance(result, Failure) and result.message.endswith(expected.message)
    assert result.transient == expected.transient
    # The rest of the large answer is not taken for the next one.
    size = 1
    assert isinstance(transport.send(request(operation)), Response)


def test_an_answer_that_announces_too_large_a_size_is_not_read(raw: Callable[[Script], Raw]) -> None:
    def script(request: bytes) -> Iterator[bytes]:
        yield HEAD + f"Content-Length: {60 * MIB}\r\n\r\n".encode()
        yield from pieces(60 * MIB)

    server = raw(script)
    result = connect(server.url).send(request("get-shard-iterator"))
    assert isinstance(result, Failure) and "larger than 64 KiB" in result.message
    assert server.sent < 30 * MIB


@pytest.mark.parametrize("operation", ["get-records", "get-shard-iterator"])
def test_a_large_error_is_cut(raw: Callable[[Script], Raw], operation: str) -> None:
    def script(request: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 503 Busy\r\n" + f"Content-Length: {3 * MIB}\r\n\r\n".encode()
        yield from pieces(3 * MIB)

    result = connect(raw(script).url).send(request(operation))
    assert isinstance(result, Response) and (result.status, len(result.body)) == (503, MIB)


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"", b""),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 ", b"2"),
        (HEAD + b"X-Long: ", b"x"),
        (HEAD + b"Content-Length: 60000\r\n\r\n", b"x"),
        (HEAD + b"Connection: close\r\n\r\n", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X-Trailer: x\r\n"),
    ],
)
def test_an_answer_that_arrives_byte_by_byte_ends_at_the_deadline(
    raw: Callable[[Script], Raw], begin: bytes, piece: bytes
) -> None:
    def script(request: bytes) -> Iterator[bytes]:
        if len(server.requests) > 1:
            yield answer(b"{}")
            return
        yield from server.trickle(piece, begin)

    server = raw(script)
    transport = connect(server.url, 0.5)
    result = transport.send(request())
    assert isinstance(result, Failure) and result.transient and result.message.endswith("in time")
    result = transport.send(request())
    assert isinstance(result, Response) and result.body == b"{}"


def test_closing_the_transport_ends_requests_in_flight(raw: Callable[[Script], Raw]) -> None:
    def script(request: bytes) -> Iterator[bytes]:
        received.set()
        yield from server.trickle(b"")

    received = threading.Event()
    server = raw(script)
    transport = connect(server.url)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(transport.send(request())))
    thread.start()
    received.wait()
    transport.close()
    thread.join()
    assert isinstance(results[0], Failure)


def test_the_watchdog_ends_when_no_request_is_in_flight(raw: Callable[[Script], Raw]) -> None:
    transport = connect(raw(lambda request: iter([answer(b"{}")])).url)
    assert isinstance(transport.send(request()), Response)
    thread = transport._http._watchdog._thread
    if thread is not None:
        thread.join()
    assert transport._http._watchdog._thread is None
    assert isinstance(transport.send(request()), Response)


def test_a_request_whose_deadline_has_passed_is_not_sent(raw: Callable[[Script], Raw]) -> None:
    server = raw(lambda request: iter([answer(b"{}")]))
    result = connect(server.url).send(request(), deadline=0.0)
    assert isinstance(result, Failure) and "in time" in result.message and server.requests == []


def test_an_incomplete_or_invalid_answer_is_retried(raw: Callable[[Script], Raw]) -> None:
    for script in (
        lambda request: iter([HEAD + b"Content-Length: 9\r\n\r\nx", b""]),
        lambda request: iter([HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nx", b""]),
        lambda request: iter([b"\x1b]0;title\x07\r\n\r\n", b""]),
        lambda request: iter([b""]),
    ):
        result = connect(raw(script).url).send(request())
        assert isinstance(result, Failure) and result.transient
        assert result.message.isprintable()
        assert result.message.startswith(("incomplete answer", "lost the connection")), result.message


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Thu, 01 Jan 1970 00:00:01 GMT", 1),
        ("Sun, 23 Nov 2025 12:00:00 GMT", 1763899200),
        ("Sun, 23 Nov 2025 12:00:00 -0000", 1763899200),
        ("Mon, 01 Jan 1900 00:00:00 GMT", -2208988800),
        ("Tue, 19 Jan 2038 03:14:08 GMT", 2**31),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
        ("Fri, 31 Dec 9999 23:59:59 -9999", 253402300799 + 99 * 3600 + 99 * 60),
        ("Sat, 00 Xyz 2025 00:00:00 GMT", None),
        ("Mon, 01 Jan 0000 00:00:00 GMT", 946684800),
        ("Mon, 01 Jan 10000 00:00:00 GMT", None),
        ("Mon, 99 Jan 2025 99:99:99 GMT", None),
        ("yesterday", None),
        ("", None),
        (" , , ", None),
        ("Sun, 23 Nov ²⁰²⁵ 12:00:00 GMT", None),
        ("Sun, 23 Nov 2025 12:00:00 GMT" + " " * 100, None),
        (None, None),
    ],
)
def test_valid_dates_are_parsed_and_others_are_ignored(header: str | None, seconds: float | None) -> None:
    parsed = parse_http_date(header)
    # A day beyond the end of its month may mean anything, but must not raise.
    assert parsed == seconds or (seconds is None and header is not None and "99" in header)


@pytest.mark.parametrize("year", [1900, 1969, 2014, 2100, 2999, 9999])
def test_the_clock_is_not_corrected_to_an_implausible_time(year: int) -> None:
    clock = Clock()
    before = clock.now()
    assert not clock.correct(before, datetime.datetime(year, 1, 1, tzinfo=datetime.timezone.utc).timestamp())
    assert abs(clock.now() - before) < 3600


def test_a_later_correction_replaces_an_earlier_one() -> None:
    clock, now = Clock(), Clock().now()
    assert clock.correct(now, 2**31) and clock.now() >= 2**31
    assert not clock.correct(clock.now(), 2**31)
    assert clock.correct(clock.now(), now) and abs(clock.now() - now) < 3600


@pytest.mark.parametrize("time", [-1e18, -1.0, 0.0, 4e9, 1e12, 1e300])
def test_the_time_can_be_signed_whatever_the_system_clock_says(time: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: time)
    assert 0 <= Clock().now() <= SIGNABLE_MAX


def stamp(year: int) -> str:
    return f"Fri, 01 Jan {year:04} 00:00:00 GMT"


@pytest.mark.parametrize("date", [stamp(1900), stamp(1970), stamp(9999), stamp(10000), "31 Dec", "\x1b[31m", ""])
def test_a_refused_clock_with_an_invalid_date_fails_only_that_request(model: Callable[..., Model], date: str) -> None:
    kinesis = model(1, lambda kinesis, request: skewed(date) if len(kinesis.requests) == 1 else None)
    transport = connect(kinesis.url)
    first, second = transport.send(request()), transport.send(request())
    assert isinstance(first, Response) and first.status == 403 and first.signed is not None
    # The clock is unchanged.
    assert isinstance(second, Response) and second.status == 200 and second.signed is not None
    assert abs(second.signed - first.signed) < 3_600_000
    assert all(response.date is None or 0 <= response.date < 2**63 for response in (first, second))


@pytest.mark.parametrize("year", [2015, 2038, 2099])
def test_a_wrong_correction_is_repaired_within_its_request(model: Callable[..., Model], year: int) -> None:
    """The first refusal comes from a machine on the way whose clock is wrong."""

    def hook(kinesis: Model, request: Any) -> Reply | None:
        if len(kinesis.requests) == 1:
            return skewed(stamp(year))
        return None if signed_in(request) == datetime.datetime.now(datetime.timezone.utc).year else skewed(None)

    kinesis = model(1, hook)
    for n in range(3):
        kinesis[0].add({"n": n})
    assert [message["n"] for message in read("orders", endpoint_url=kinesis.url)] == [0, 1, 2]
    assert [signed_in(request) for request in kinesis.requests[:3]][1] == year


def test_a_service_that_refuses_every_clock_is_not_asked_forever(model: Callable[..., Model]) -> None:
    years = iter(range(2016, 2090))
    kinesis = model(1, lambda kinesis, request: skewed(stamp(next(years))))
    result = connect(kinesis.url).send(request())
    assert isinstance(result, Response) and result.status == 403 and len(kinesis.requests) == 3


def test_the_component_learns_the_time_that_was_signed(model: Callable[..., Model]) -> None:
    def hook(kinesis: Model, request: Any) -> Reply | None:
        return skewed(stamp(2038)) if signed_in(request) != 2038 else None

    kinesis = model(1, hook)
    kinesis.clock_skew = 7200
    result = connect(kinesis.url).send(request())
    assert isinstance(result, Response) and result.signed is not None and result.date is not None
    signed = datetime.datetime.fromtimestamp(result.signed / 1000, datetime.timezone.utc)
    assert signed.strftime("%Y%m%dT%H%M%SZ") == kinesis.requests[-1].headers["X-Amz-Date"]


def test_wrong_dates_in_answers_lose_no_messages(model: Callable[..., Model]) -> None:
    for date in (stamp(1900), stamp(2038), stamp(9999), "garbage"):
        is_wrong = True
        kinesis = model(2, lambda kinesis, request: dated(kinesis, request, date) if is_wrong else None)  # noqa: B023
        options: dict[str, Any] = {"endpoint_url": kinesis.url, "start": "latest", "state": Memory()}
        assert list(read("orders", **options)) == []
        kinesis[0].add({"n": 0})
        is_wrong = False
        kinesis[1].add({"n": 1})
        assert sorted(message["n"] for message in read("orders", **options)) == [0, 1], date


def dated(kinesis: Model, request: Any, date: str) -> Reply:
    return Reply(200, getattr(kinesis, f"_{request.operation}")(request.body), {"Date": date})


def skewed(date: str | None) -> Reply:
    reply = refusal("RequestTimeTooSkewed", "skewed", 403)
    return reply if date is None else Reply(reply.status, reply.body, {"Date": date})


def signed_in(request: Any) -> int:
    """Returns the year in which a request was signed."""
    return int(request.headers["X-Amz-Date"][:4])
