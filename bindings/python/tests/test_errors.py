"""What is told of what comes from outside: no secret, and nothing that a terminal would obey."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model import Model, Reply, refusal
from raw import Raw, Script, answer

from kinesis_reader import AwsError, Error, ReadError, _transport, read
from kinesis_reader._component import Failure, Request
from kinesis_reader._printable import printable
from kinesis_reader._reasons import cause, shown_url
from kinesis_reader._transport import Transport

NASTY = "\x1b]0;title\x07\x1b[2J\n2026-01-01 INFO forged\r\u202egnp.exe\u200b"
SHOWN = "\\u{1b}]0;title\\u{7}\\u{1b}[2J\\n2026-01-01 INFO forged\\r\\u{202e}gnp.exe\\u{200b}"


def whole(error: BaseException) -> str:
    """All that a program that dies of the error shows of it."""
    return f"{error!r} {error.args!r} {''.join(traceback.format_exception(error))}"


def failed(**options: Any) -> Error:
    """What reading raises, in which there is nothing that must not be shown."""
    with pytest.raises(Error) as raised:
        list(read("orders", pace="off", **options))
    text = str(raised.value)
    assert printable(text.replace("\n", " ", 1), len(text)) == text.replace("\n", " ", 1)
    assert "marked" not in whole(raised.value)
    return raised.value


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """All that any logger says, of any level; its lines are whole ones."""
    caplog.set_level(logging.DEBUG)
    return lambda: "\n".join(record.getMessage() + (record.exc_text or "") for record in caplog.records)


def test_errors_of_the_service_are_shown_with_escapes(model: Callable[..., Model], logged: Callable[[], str]) -> None:
    def hook(kinesis: Model, asked: Any) -> Reply | None:
        if asked.operation == "GetRecords":
            headers = {"x-amzn-requestid": "\x1b[31m"}
            return Reply(400, {"__type": f"Access{NASTY}Exception", "message": NASTY}, headers)
        return None

    error = failed(endpoint_url=model(1, hook).url)
    assert "forged" in str(error) and "\\u{1b}[31m" in str(error)
    assert "\x1b" not in logged()


def test_a_long_error_is_cut(model: Callable[..., Model]) -> None:
    kinesis = model(1, lambda kinesis, asked: refusal("AccessDeniedException", 100_000 * "x"))
    assert len(str(failed(endpoint_url=kinesis.url))) < 3000


def test_a_shard_that_no_service_has_is_refused_or_shown_with_escapes(
    model: Callable[..., Model], logged: Callable[[], str]
) -> None:
    def hook(kinesis: Model, asked: Any) -> Reply | None:
        if asked.operation == "ListShards":
            listed = kinesis._listed(kinesis[0]) | {"ShardId": f"shardId-0{NASTY}"}
            return Reply(200, {"Shards": [listed]})
        return refusal("AccessDeniedException", "no") if asked.operation == "GetShardIterator" else None

    failed(endpoint_url=model(1, hook).url)
    assert "\x1b" not in logged() and "\u202e" not in logged()


@pytest.mark.parametrize("failure", [Failure(NASTY, False), Failure(NASTY, True)])
def test_a_failure_is_shown_with_escapes(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str], failure: Failure
) -> None:
    monkeypatch.setattr(Transport, "send", lambda *arguments: failure)
    assert SHOWN in str(failed(endpoint_url=model().url))
    assert "\x1b" not in logged()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("user:marked@host:80", "***@host:80"),
        ("http:/user:marked@host/", "***@host/"),
        ("http://user:marked@host/", "http://***@host/"),
        ("http://user:mar/ked@host/", "http://***@host/"),
        ("http://user:mar@ked@host/", "http://***@host/"),
        ("http://user:mar ked@host/", "http://***@host/"),
        ("https://host/?X-Amz-Signature=marked", "https://host/?***"),
        ("https://host/?a=user:b@marked", "https://***"),
        ("http://user:mar?ked@host", "http://***"),
        ("https://host/#marked", "https://host/#***"),
        ("http://user:marked", "http://user:***"),
        ("http://user:marked/path", "http://user:***/path"),
        ("user:marked", "user:***"),
        ("http://marked@host", "http://***@host"),
        ("http://a://user:marked@host", "***@host"),
        ("localhost:4567", "localhost:4567"),
        ("http://[::1]:99999", "http://[::1]:99999"),
        ("http://[::1", "http://[::1"),
        ("http://ho\x1bst", "http://ho\\u{1b}st"),
        ("ftp://host", "ftp://host"),
        ("", ""),
    ],
)
def test_an_endpoint_that_is_none_is_told_without_what_may_be_a_password(
    monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str], url: str, shown: str
) -> None:
    assert shown_url(url) == shown
    if url:
        assert shown in str(failed(endpoint_url=url))
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert isinstance(failed(), AwsError)
    assert "marked" not in logged()


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://user:marked@127.0.0.1:port", "not a proxy: http://***@127.0.0.1:***"),
        ("http://user:marked@127.0.0.1:99999", "not a proxy: http://***@127.0.0.1:99999"),
        ("socks5://user:marked@127.0.0.1:1", "not a proxy: socks5://***@127.0.0.1:1"),
        ("user:mar/ked@127.0.0.1:1", "not a proxy: ***@127.0.0.1:1"),
        ("http://http://user:marked@127.0.0.1:1", "not a proxy: ***@127.0.0.1:1"),
        ("http://user:markedż@127.0.0.1:1", "not ASCII: http://***@127.0.0.1:1"),
    ],
)
def test_a_proxy_that_is_none_is_told_without_its_password(
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


def test_what_a_proxy_says_is_shown_with_escapes_and_its_password_is_not(
    raw: Callable[[Script], Raw], monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    refuses = raw(lambda asked: iter([b"HTTP/1.1 407 no\x1b[31m\xe2\x80\xae\r\n\r\n", b""]))
    for user in ("http:marked", "user:mark%65d", "127:marked"):
        monkeypatch.setenv("HTTPS_PROXY", refuses.url.replace("//", f"//{user}@"))
        why = send(None).why
        assert why.startswith(f"there is no connection to the proxy {refuses.url}: ") and "407 no\\u{1b}[31m" in why
        assert "ed@" not in why
        monkeypatch.setenv("HTTPS_PROXY", f"http://{user}@127.0.0.1:9")
        assert "Connection refused" in send(None).why
    assert "marked" not in logged() and "mark%65d" not in logged()
    # The proxy has it.
    assert refuses.requests and b"Proxy-Authorization: Basic " in refuses.requests[0]


def test_a_proxy_between_is_used_and_what_it_answers_is_the_answer(
    raw: Callable[[Script], Raw], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = raw(lambda asked: iter([answer(b"busy\x1b", "503 Busy")]))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    transport = Transport.connect("orders", None, None, "http://kinesis.example", None, 4, 10.0)
    result = transport.send(Request(1, "list-shards", None, "Kinesis_20131202.ListShards", "{}", 0))
    assert not isinstance(result, Failure) and result.status == 503
    assert proxy.requests[0].startswith(b"POST http://kinesis.example")


def test_a_server_that_speaks_no_tls_is_told_in_words(raw: Callable[[Script], Raw]) -> None:
    url = raw(lambda asked: iter([b"HTTP/1.1 400 \x1b\r\n\r\n", b""])).url
    transport = Transport.connect("orders", None, None, url.replace("http:", "https:"), None, 4, 10.0)
    failure = transport.send(Request(1, "list-shards", None, "Kinesis_20131202.ListShards", "{}", 0))
    assert isinstance(failure, Failure) and failure.why.isprintable()


@pytest.mark.parametrize("name", ["AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
@pytest.mark.parametrize("value", ["marked\nX: y", "marked\r", "mar ked", "markedż", "marked\x1b"])
def test_credentials_that_cannot_be_are_not_shown(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    kinesis = model()
    assert "characters that are never valid" in str(failed(endpoint_url=kinesis.url))
    assert "marked" not in logged() and kinesis.asked == []


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
def test_a_credentials_file_that_is_damaged_is_not_shown(
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
    ("program", "words"),
    [
        ('print(\'{"Version": 1, "AccessKeyId": "marked\')', "Kinesis cannot be asked|cannot load AWS credentials"),
        ("print('marked')", "Kinesis cannot be asked|cannot load AWS credentials"),
        ("print('{\"Version\": 1}')", "Kinesis cannot be asked|cannot load AWS credentials"),
        (f"import sys; sys.exit({NASTY!r})", r"\\u\{1b\}\]0;title"),
    ],
)
def test_what_a_credential_process_says_is_shown_with_escapes(
    model: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    script, config = tmp_path / "process.py", tmp_path / "config"
    script.write_text(program)
    config.write_text(f"[default]\ncredential_process = {shlex.join([sys.executable, str(script)])}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with pytest.raises(Error, match=words):
        raise failed(endpoint_url=model().url)


def test_what_sts_says_is_shown_with_escapes(
    model: Callable[..., Model],
    raw: Callable[[Script], Raw],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    body = "<ErrorResponse><Error><Code>Denied</Code><Message>no\u202e\u200b rtl</Message></Error></ErrorResponse>"
    sts = raw(lambda asked: iter([answer(body.encode(), "400 Bad", "Content-Type: text/xml")]))
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
    ("options", "words"),
    [
        ({"region": f"us{NASTY}"}, "not a region: us\\u{1b}"),
        ({"profile": f"p{NASTY}"}, "p\\u{1b}"),
        ({"state": f"/nowhere{NASTY}/s.json"}, "/nowhere\\u{1b}"),
        ({"invalid_records": f"/nowhere{NASTY}/b.json"}, "/nowhere\\u{1b}"),
        ({"start": NASTY}, "not a time for start"),
        ({"payload": NASTY}, "payload is"),
    ],
)
def test_options_are_shown_with_escapes(options: dict[str, Any], words: str) -> None:
    assert words in str(failed(**options))


def test_the_state_is_shown_with_escapes(tmp_path: Path) -> None:
    path = tmp_path / "s\x1b[31m.json"
    path.write_text('{"version": "\\u001b[31m\\u202e", "checkpoint": {}}')
    assert "\\u{1b}[31m.json: \\u{1b}[31m\\u{202e}" in str(failed(endpoint_url="http://127.0.0.1:9", state=path))


def test_the_innermost_cause_is_told_and_a_ring_of_causes_ends() -> None:
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


def test_a_batch_and_its_run_are_shown_without_secrets(model: Callable[..., Model]) -> None:
    kinesis = model()
    kinesis[0].add({"n": 0})
    with read("orders", endpoint_url=kinesis.url, batches=True) as batches:
        for batch in batches:
            assert repr(batch) == "<1 messages of shardId-000000000000>"
    assert _transport.Transport.__repr__ is object.__repr__ and os.environ["AWS_SECRET_ACCESS_KEY"] not in repr(batches)
