"""Answers that are too large, that never end, or that are of another time."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from model import Model, Reply, refusal
from raw import HEAD, Raw, Script, answer

from kinesis_reader import read
from kinesis_reader._component import Failure, Request, Response
from kinesis_reader._signing import SIGNABLE_MAX, Clock, http_date
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
    ("operation", "most", "said"),
    [
        ("get-records", 64 * MIB, Failure("an answer larger than 64 MiB", False)),
        ("list-shards", 16 * MIB, Failure("an answer larger than 16 MiB", False)),
        ("get-shard-iterator", 64 * KIB, Failure("an answer larger than 64 KiB", True)),
        ("describe-stream-summary", 64 * KIB, Failure("an answer larger than 64 KiB", True)),
    ],
)
def test_answers_are_bounded_by_what_was_asked_for(
    raw: Callable[[Script], Raw], operation: str, most: int, said: Failure, framing: str
) -> None:
    def script(asked: bytes) -> Iterator[bytes]:
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
    size = most
    result = transport.send(request(operation))
    assert isinstance(result, Response) and len(result.body) == most
    size = most + 1
    result = transport.send(request(operation))
    assert isinstance(result, Failure) and result.why.startswith(said.why) and result.transient == said.transient
    # It was not left to the next answer.
    size = 1
    assert isinstance(transport.send(request(operation)), Response)


def test_an_answer_that_says_that_it_is_too_large_is_not_taken_in(raw: Callable[[Script], Raw]) -> None:
    def script(asked: bytes) -> Iterator[bytes]:
        yield HEAD + f"Content-Length: {60 * MIB}\r\n\r\n".encode()
        yield from pieces(60 * MIB)

    server = raw(script)
    result = connect(server.url).send(request("get-shard-iterator"))
    assert isinstance(result, Failure) and "larger than 64 KiB" in result.why
    assert server.sent < 30 * MIB


@pytest.mark.parametrize("operation", ["get-records", "get-shard-iterator"])
def test_of_an_answer_that_is_an_error_the_beginning_is_taken(raw: Callable[[Script], Raw], operation: str) -> None:
    def script(asked: bytes) -> Iterator[bytes]:
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
def test_an_answer_that_trickles_ends_by_the_time_of_its_request(
    raw: Callable[[Script], Raw], begin: bytes, piece: bytes
) -> None:
    def script(asked: bytes) -> Iterator[bytes]:
        if len(server.requests) > 1:
            yield answer(b"{}")
            return
        yield from server.trickle(piece, begin)

    server = raw(script)
    transport = connect(server.url, 0.5)
    result = transport.send(request())
    assert isinstance(result, Failure) and result.transient and result.why.startswith("no answer in time")
    result = transport.send(request())
    assert isinstance(result, Response) and result.body == b"{}"


def test_what_is_under_way_ends_when_the_transport_is_closed(raw: Callable[[Script], Raw]) -> None:
    def script(asked: bytes) -> Iterator[bytes]:
        asked_for.set()
        yield from server.trickle(b"")

    asked_for = threading.Event()
    server = raw(script)
    transport = connect(server.url)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(transport.send(request())))
    thread.start()
    asked_for.wait()
    transport.close()
    thread.join()
    assert isinstance(results[0], Failure)


def test_the_watch_is_gone_when_there_is_nothing_to_watch(raw: Callable[[Script], Raw]) -> None:
    transport = connect(raw(lambda asked: iter([answer(b"{}")])).url)
    assert isinstance(transport.send(request()), Response)
    watch = transport._http._watch._thread
    if watch is not None:
        watch.join()
    assert transport._http._watch._thread is None
    assert isinstance(transport.send(request()), Response)


def test_a_request_whose_time_is_over_is_not_sent(raw: Callable[[Script], Raw]) -> None:
    server = raw(lambda asked: iter([answer(b"{}")]))
    result = connect(server.url).send(request(), due=0.0)
    assert isinstance(result, Failure) and "no answer in time" in result.why and server.requests == []


def test_an_answer_that_ends_early_or_breaks_off_is_tried_again(raw: Callable[[Script], Raw]) -> None:
    for script in (
        lambda asked: iter([HEAD + b"Content-Length: 9\r\n\r\nx", b""]),
        lambda asked: iter([HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nx", b""]),
        lambda asked: iter([b"\x1b]0;title\x07\r\n\r\n", b""]),
        lambda asked: iter([b""]),
    ):
        result = connect(raw(script).url).send(request())
        assert isinstance(result, Failure) and result.transient
        assert result.why.isprintable() and ("ended early" in result.why or "was lost" in result.why), result.why


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
def test_a_date_is_read_or_passed_over(header: str | None, seconds: float | None) -> None:
    got = http_date(header)
    # What a day beyond its month means is no matter, as long as it is no error.
    assert got == seconds or (seconds is None and header is not None and "99" in header)


@pytest.mark.parametrize("year", [1900, 1969, 2014, 2100, 2999, 9999])
def test_a_clock_is_not_corrected_by_a_time_that_no_service_is_of(year: int) -> None:
    clock = Clock()
    before = clock.now()
    assert not clock.correct(before, datetime.datetime(year, 1, 1, tzinfo=datetime.timezone.utc).timestamp())
    assert abs(clock.now() - before) < 3600


def test_a_later_correction_takes_the_place_of_an_earlier_one() -> None:
    clock, now = Clock(), Clock().now()
    assert clock.correct(now, 2**31) and clock.now() >= 2**31
    assert not clock.correct(clock.now(), 2**31)
    assert clock.correct(clock.now(), now) and abs(clock.now() - now) < 3600


@pytest.mark.parametrize("time", [-1e18, -1.0, 0.0, 4e9, 1e12, 1e300])
def test_there_is_a_time_to_sign_by_whatever_the_system_says(time: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: time)
    assert 0 <= Clock().now() <= SIGNABLE_MAX


def stamp(year: int) -> str:
    return f"Fri, 01 Jan {year:04} 00:00:00 GMT"


@pytest.mark.parametrize("date", [stamp(1900), stamp(1970), stamp(9999), stamp(10000), "31 Dec", "\x1b[31m", ""])
def test_a_refusal_for_the_clock_with_an_odd_date_is_an_error_of_that_request(
    model: Callable[..., Model], date: str
) -> None:
    kinesis = model(1, lambda kinesis, asked: skewed(date) if len(kinesis.asked) == 1 else None)
    transport = connect(kinesis.url)
    first, second = transport.send(request()), transport.send(request())
    assert isinstance(first, Response) and first.status == 403 and first.signed is not None
    # The clock is as it was.
    assert isinstance(second, Response) and second.status == 200 and second.signed is not None
    assert abs(second.signed - first.signed) < 3_600_000
    assert all(response.date is None or 0 <= response.date < 2**63 for response in (first, second))


@pytest.mark.parametrize("year", [2015, 2038, 2099])
def test_a_false_correction_heals_within_its_request(model: Callable[..., Model], year: int) -> None:
    """The first refusal is by a box on the way, whose clock is wrong."""

    def hook(kinesis: Model, asked: Any) -> Reply | None:
        if len(kinesis.asked) == 1:
            return skewed(stamp(year))
        return None if signed_in(asked) == datetime.datetime.now(datetime.timezone.utc).year else skewed(None)

    kinesis = model(1, hook)
    for n in range(3):
        kinesis[0].add({"n": n})
    assert [message["n"] for message in read("orders", endpoint_url=kinesis.url)] == [0, 1, 2]
    assert [signed_in(asked) for asked in kinesis.asked[:3]][1] == year


def test_a_service_that_refuses_every_clock_is_told_and_not_asked_for_ever(model: Callable[..., Model]) -> None:
    years = iter(range(2016, 2090))
    kinesis = model(1, lambda kinesis, asked: skewed(stamp(next(years))))
    result = connect(kinesis.url).send(request())
    assert isinstance(result, Response) and result.status == 403 and len(kinesis.asked) == 3


def test_the_component_is_told_the_time_that_was_signed(model: Callable[..., Model]) -> None:
    def hook(kinesis: Model, asked: Any) -> Reply | None:
        return skewed(stamp(2038)) if signed_in(asked) != 2038 else None

    kinesis = model(1, hook)
    kinesis.clock_skew = 7200
    result = connect(kinesis.url).send(request())
    assert isinstance(result, Response) and result.signed is not None and result.date is not None
    signed = datetime.datetime.fromtimestamp(result.signed / 1000, datetime.timezone.utc)
    assert signed.strftime("%Y%m%dT%H%M%SZ") == kinesis.asked[-1].headers["X-Amz-Date"]


def test_dates_of_answers_lose_nothing_in_this_run_or_the_next(model: Callable[..., Model]) -> None:
    class Memory:
        checkpoint: str | None = None

        def load(self) -> str | None:
            return self.checkpoint

        def save(self, checkpoint: str) -> None:
            self.checkpoint = checkpoint

    for date in (stamp(1900), stamp(2038), stamp(9999), "garbage"):
        wrong = True
        kinesis = model(2, lambda kinesis, asked: dated(kinesis, asked, date) if wrong else None)  # noqa: B023
        options: dict[str, Any] = {"endpoint_url": kinesis.url, "start": "latest", "state": Memory()}
        assert list(read("orders", **options)) == []
        kinesis[0].add({"n": 0})
        wrong = False
        kinesis[1].add({"n": 1})
        assert sorted(message["n"] for message in read("orders", **options)) == [0, 1], date


def dated(kinesis: Model, asked: Any, date: str) -> Reply:
    return Reply(200, getattr(kinesis, f"_{asked.operation}")(asked.body), {"Date": date})


def skewed(date: str | None) -> Reply:
    reply = refusal("RequestTimeTooSkewed", "skewed", 403)
    return reply if date is None else Reply(reply.status, reply.body, {"Date": date})


def signed_in(asked: Any) -> int:
    """The year that a request was signed in."""
    return int(asked.headers["X-Amz-Date"][:4])
