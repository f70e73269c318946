"""Errors and log lines about text from outside: they contain no secrets and no control characters."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from model import Model, Reply, refusal
from raw import Raw, Script, answer

from kinesis_reader import Error, ReadError, _transport, read, read_batches
from kinesis_reader._component import Failure, Request
from kinesis_reader._printable import printable
from kinesis_reader._reasons import cause, redacted_url
from kinesis_reader._transport import Transport

HOSTILE = "\x1b]0;title\x07\x1b[2J\n2026-01-01 INFO forged\r\u202egnp.exe\u200b"
ESCAPED = "\\u{1b}]0;title\\u{7}\\u{1b}[2J\\n2026-01-01 INFO forged\\r\\u{202e}gnp.exe\\u{200b}"


def traceback_of(error: BaseException) -> str:
    """Returns all that a program shows if the error ends it."""
    return f"{error!r} {error.args!r} {''.join(traceback.format_exception(error))}"


def failed(**options: Any) -> Error:
    """Returns the error that reading raises, after checking that it is safe to show."""
    with pytest.raises(Error) as raised:
        list(read("orders", pace="off", **options))
    text = str(raised.value)
    assert printable(text.replace("\n", " ", 1), len(text)) == text.replace("\n", " ", 1)
    assert "marked" not in traceback_of(raised.value)
    return raised.value


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Returns the messages of all loggers at all levels."""
    caplog.set_level(logging.DEBUG)
    return lambda: "\n".join(record.getMessage() + (record.exc_text or "") for record in caplog.records)


def test_errors_of_the_service_are_escaped(model: Callable[..., Model], logged: Callable[[], str]) -> None:
    def hook(kinesis: Model, request: Any) -> Reply | None:
        if request.operation == "GetRecords":
            headers = {"x-amzn-requestid": "\x1b[31m"}
            return Reply(400, {"__type": f"Access{HOSTILE}Exception", "message": HOSTILE}, headers)
        return None

    error = failed(endpoint_url=model(1, hook).url)
    assert "forged" in str(error) and "\\u{1b}[31m" in str(error)
    assert "\x1b" not in logged()


def test_a_long_error_is_cut(model: Callable[..., Model]) -> None:
    kinesis = model(1, lambda kinesis, request: refusal("AccessDeniedException", 100_000 * "x"))
    assert len(str(failed(endpoint_url=kinesis.url))) < 3000


def test_an_invalid_shard_id_is_refused_or_escaped(model: Callable[..., Model], logged: Callable[[], str]) -> None:
    def hook(kinesis: Model, request: Any) -> Reply | None:
        if request.operation == "ListShards":
            shard = kinesis.describe(kinesis[0]) | {"ShardId": f"shardId-0{HOSTILE}"}
            return Reply(200, {"Shards": [shard]})
        return refusal("AccessDeniedException", "no") if request.operation == "GetShardIterator" else None

    failed(endpoint_url=model(1, hook).url)
    assert "\x1b" not in logged() and "\u202e" not in logged()


@pytest.mark.parametrize("failure", [Failure(HOSTILE, False), Failure(HOSTILE, True)])
def test_a_failed_connection_is_escaped(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str], failure: Failure
) -> None:
    monkeypatch.setattr(Transport, "send", lambda *arguments: failure)
    assert ESCAPED in str(failed(endpoint_url=model().url))
    assert "\x1b" not in logged()


@pytest.mark.parametrize(("url", "shown"), json.loads((CHECKOUT / "tests/golden/endpoints.json").read_text("utf-8")))
def test_an_invalid_endpoint_is_shown_without_a_possible_password(
    monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str], url: str, shown: str
) -> None:
    assert redacted_url(url) == shown
    error = failed(endpoint_url=url)
    assert f": {shown}\n" in str(error)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    text = traceback_of(error) + traceback_of(failed()) + logged()
    assert "SEC" not in text and "RET" not in text


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://user:marked@127.0.0.1:port", "invalid proxy: http://***@127.0.0.1:***"),
        ("http://user:marked@127.0.0.1:99999", "invalid proxy: http://***@127.0.0.1:99999"),
        ("socks5://user:marked@127.0.0.1:1", "invalid proxy: socks5://***@127.0.0.1:1"),
        ("user:mar/ked@127.0.0.1:1", "invalid proxy: ***@127.0.0.1:1"),
        ("http://http://user:marked@127.0.0.1:1", "invalid proxy: http://***@127.0.0.1:1"),
        ("http://user:markedż@127.0.0.1:1", "not ASCII: http://***@127.0.0.1:1"),
    ],
)
def test_an_invalid_proxy_is_shown_without_its_password(
    monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str], proxy: str, shown: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert shown in str(failed())
    assert "marked" not in logged()


def send(endpoint: str | None) -> Failure:
    transport = Transport.connect("orders", None, None, endpoint, None, 4, 10.0)
    failure = transport.send(Request(1, "list-shards", None, "Kinesis_20131202.ListShards", "{}", 0))
    assert isinstance(failure, Failure) and failure.transient
    return failure


def test_answers_of_a_proxy_are_escaped_and_its_password_is_not_shown(
    raw: Callable[[Script], Raw], monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    proxy = raw(lambda request: iter([b"HTTP/1.1 407 no\x1b[31m\xe2\x80\xae\r\n\r\n", b""]))
    for user in ("http:marked", "user:mark%65d", "127:marked"):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", f"//{user}@"))
        message = send(None).message
        assert message.startswith(f"cannot connect to the proxy {proxy.url}: ")
        assert "407 no\\u{1b}[31m" in message and "ed@" not in message
        monkeypatch.setenv("HTTPS_PROXY", f"http://{user}@127.0.0.1:9")
        assert "Connection refused" in send(None).message
    assert "marked" not in logged() and "mark%65d" not in logged()
    # The proxy received the password.
    assert proxy.requests and b"Proxy-Authorization: Basic " in proxy.requests[0]


def test_a_proxy_is_used_and_its_answer_is_the_answer(
    raw: Callable[[Script], Raw], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = raw(lambda request: iter([answer(b"busy\x1b", "503 Busy")]))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    transport = Transport.connect("orders", None, None, "http://kinesis.example", None, 4, 10.0)
    result = transport.send(Request(1, "list-shards", None, "Kinesis_20131202.ListShards", "{}", 0))
    assert not isinstance(result, Failure) and result.status == 503
    assert proxy.requests[0].startswith(b"POST http://kinesis.example")


def test_a_server_without_tls_is_reported(raw: Callable[[Script], Raw]) -> None:
    url = raw(lambda request: iter([b"HTTP/1.1 400 \x1b\r\n\r\n", b""])).url
    transport = Transport.connect("orders", None, None, url.replace("http:", "https:"), None, 4, 10.0)
    failure = transport.send(Request(1, "list-shards", None, "Kinesis_20131202.ListShards", "{}", 0))
    assert isinstance(failure, Failure) and failure.message.isprintable()


@pytest.mark.parametrize("name", ["AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
@pytest.mark.parametrize("value", ["marked\nX: y", "marked\r", "mar ked", "markedż", "marked\x1b"])
def test_invalid_credentials_are_not_shown(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    kinesis = model()
    assert "characters that are not allowed in HTTP headers" in str(failed(endpoint_url=kinesis.url))
    assert "marked" not in logged() and kinesis.requests == []


@pytest.mark.parametrize(
    "text",
    [
        "[default]\naws_access_key_id = AK\naws_secret_access_key marked",
        "[default\naws_secret_access_key = marked",
        "marked\n[default]",
        "[default]\n marked\naws_access_key_id=a",
        "[default]\naws_access_key_id = AK\naws_secret_access_key = mar\\\xff\xfeked",
        "[default]\naws_access_key_id = marked",
    ],
)
def test_a_damaged_credentials_file_is_not_shown(
    model: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str], text: str
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    file = tmp_path / "credentials"
    file.write_bytes(text.encode("latin-1"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    assert isinstance(failed(endpoint_url=model().url), Error)
    assert "marked" not in logged()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            'print(\'{"Version": 1, "AccessKeyId": "marked\')',
            "cannot load the AWS configuration|cannot load AWS credentials",
        ),
        ("print('marked')", "cannot load the AWS configuration|cannot load AWS credentials"),
        ("print('{\"Version\": 1}')", "cannot load the AWS configuration|cannot load AWS credentials"),
        (f"import sys; sys.exit({HOSTILE!r})", r"\\u\{1b\}\]0;title"),
    ],
)
def test_output_of_a_credential_process_is_escaped(
    model: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, message: str
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    script, config = tmp_path / "process.py", tmp_path / "config"
    script.write_text(program)
    config.write_text(f"[default]\ncredential_process = {shlex.join([sys.executable, str(script)])}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with pytest.raises(Error, match=message):
        raise failed(endpoint_url=model().url)


def test_errors_of_sts_are_escaped(
    model: Callable[..., Model],
    raw: Callable[[Script], Raw],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    body = "<ErrorResponse><Error><Code>Denied</Code><Message>no\u202e\u200b rtl</Message></Error></ErrorResponse>"
    sts = raw(lambda request: iter([answer(body.encode(), "400 Bad", "Content-Type: text/xml")]))
    config = tmp_path / "config"
    config.write_text(
        "[default]\nrole_arn = arn:aws:iam::000000000000:role/r\nsource_profile = base\n"
        "[profile base]\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    error = failed(endpoint_url=model().url)
    assert isinstance(error, ReadError) and "cannot load AWS credentials" in str(error)
    assert "no\\u{202e}\\u{200b} rtl" in str(error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": f"us{HOSTILE}"}, "invalid region: us\\u{1b}"),
        ({"profile": f"p{HOSTILE}"}, "p\\u{1b}"),
        ({"state": f"/nowhere{HOSTILE}/s.json"}, "/nowhere\\u{1b}"),
        ({"invalid_records": f"/nowhere{HOSTILE}/b.json"}, "/nowhere\\u{1b}"),
        ({"start": HOSTILE}, "not a time for start"),
        ({"payload": HOSTILE}, "invalid payload"),
    ],
)
def test_options_are_escaped(options: dict[str, Any], message: str) -> None:
    assert message in str(failed(**options))


def test_the_state_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "s\x1b[31m.json"
    path.write_text('{"version": "\\u001b[31m\\u202e", "checkpoint": {}}')
    assert "\\u{1b}[31m.json: \\u{1b}[31m\\u{202e}" in str(failed(endpoint_url="http://127.0.0.1:9", state=path))


def test_the_innermost_cause_is_shown_and_a_cycle_of_causes_ends() -> None:
    try:
        try:
            raise ConnectionRefusedError(111, "Connection\x1b refused")
        except OSError as error:
            raise ValueError("http://user:marked@host") from error
    except ValueError as error:
        assert cause(error) == "Connection\\u{1b} refused"
    one, other = ValueError("http://user:marked@host/?marked is off"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert cause(other) == "http://***@host/?*** is off"


def test_representations_of_batches_contain_no_secrets(model: Callable[..., Model]) -> None:
    kinesis = model()
    kinesis[0].add({"n": 0})
    with read_batches("orders", endpoint_url=kinesis.url) as batches:
        for batch in batches:
            assert repr(batch) == "<1 messages of shardId-000000000000>"
    assert _transport.Transport.__repr__ is object.__repr__ and os.environ["AWS_SECRET_ACCESS_KEY"] not in repr(batches)
