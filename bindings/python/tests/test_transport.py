"""The transport: what it corrects, what it reports, and what it never shows."""

from __future__ import annotations

import datetime
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import urllib3.util.connection
from botocore.credentials import RefreshableCredentials
from model import Model, Reply, refusal

from kinesis_reader import AwsError, OptionError, ReadError, read
from kinesis_reader._component import Request
from kinesis_reader._transport import Transport


def filled(model: Callable[..., Model], hook: Any = None) -> Model:
    kinesis = model(1, hook)
    for n in range(3):
        kinesis[0].add({"n": n})
    return kinesis


def numbers(kinesis: Model, **options: Any) -> list[int]:
    return [message["n"] for message in read("orders", endpoint_url=kinesis.url, **options)]


def signed_at(request: Any) -> datetime.datetime:
    return datetime.datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ")


def test_a_wrong_clock_is_corrected_once_by_the_service(model: Callable[..., Model]) -> None:
    def hook(kinesis: Model, request: Any) -> Reply | None:
        service = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) + datetime.timedelta(hours=3)
        if abs(service - signed_at(request)) > datetime.timedelta(minutes=5):
            return refusal("InvalidSignatureException", "Signature expired: is now earlier than")
        return None

    kinesis = filled(model, hook)
    kinesis.clock_skew = 3 * 3600
    assert numbers(kinesis) == [0, 1, 2]
    # The first request was signed again, and later ones by the corrected clock.
    assert [request.operation for request in kinesis.requests[:3]] == ["DescribeStreamSummary"] * 2 + ["ListShards"]


def test_a_body_is_sent_before_the_headers_are_acknowledged(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*arguments: Any, **options: Any) -> socket.socket:
        connection = create_connection(*arguments, **options)
        no_delay.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
        return connection

    no_delay: list[bool] = []
    create_connection = urllib3.util.connection.create_connection
    monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
    assert numbers(filled(model)) == [0, 1, 2]
    assert no_delay and all(no_delay)


@pytest.mark.parametrize("variables", [("AWS_REGION",), ("AWS_DEFAULT_REGION",), ("AWS_REGION", "AWS_DEFAULT_REGION")])
def test_the_region_is_found_in_the_same_variables_as_by_the_command_line(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, variables: tuple[str, ...]
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for number, name in enumerate(variables):
        monkeypatch.setenv(name, f"eu-west-{number + 1}")
    kinesis = filled(model)
    assert numbers(kinesis) == [0, 1, 2]
    assert all("/eu-west-1/kinesis/" in request.headers["Authorization"] for request in kinesis.requests)


def test_a_signature_that_is_wrong_for_another_reason_is_reported(model: Callable[..., Model]) -> None:
    kinesis = filled(model, lambda kinesis, request: refusal("InvalidSignatureException", "it does not match"))
    with pytest.raises(ReadError, match="InvalidSignatureException: it does not match"):
        numbers(kinesis)


def test_refused_credentials_are_renewed_once(model: Callable[..., Model]) -> None:
    def hook(kinesis: Model, request: Any) -> Reply | None:
        is_renewed = f"Credential=key-{renewals}/" in request.headers["Authorization"] and renewals > 0
        return None if is_renewed else refusal("ExpiredTokenException", "The security token included is expired")

    renewals = 0

    def metadata() -> dict[str, str]:
        expiry = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        return {
            "access_key": f"key-{renewals}",
            "secret_key": "marked-secret",
            "token": "marked-token",
            "expiry_time": expiry.isoformat(),
        }

    def renew() -> dict[str, str]:
        nonlocal renewals
        renewals += 1
        return metadata()

    session = botocore.session.Session()
    session._credentials = RefreshableCredentials.create_from_metadata(metadata(), renew, "test")
    kinesis = filled(model, hook)
    assert numbers(kinesis, session=session) == [0, 1, 2]
    assert renewals == 1


def test_refused_credentials_are_read_from_their_file_again(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "credentials"

    def write_key(name: str) -> None:
        file.write_text(f"[default]\naws_access_key_id = {name}\naws_secret_access_key = secret\n")

    def hook(kinesis: Model, request: Any) -> Reply | None:
        if "Credential=new/" in request.headers["Authorization"]:
            return None
        write_key("new")
        return refusal("UnrecognizedClientException", "The security token included in the request is invalid.", 403)

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    write_key("old")
    kinesis = filled(model, hook)
    assert numbers(kinesis) == [0, 1, 2]
    assert sum("Credential=old/" in request.headers["Authorization"] for request in kinesis.requests) == 1


def test_credentials_that_cannot_be_renewed_end_the_run(model: Callable[..., Model]) -> None:
    kinesis = filled(model, lambda kinesis, request: refusal("ExpiredTokenException", "expired"))
    with pytest.raises(ReadError) as raised:
        numbers(kinesis)
    assert raised.value.code == "ExpiredTokenException" and raised.value.hint


def test_a_redirect_is_not_followed(model: Callable[..., Model]) -> None:
    elsewhere = filled(model)
    kinesis = filled(model, lambda kinesis, request: Reply(307, b"", {"Location": elsewhere.url}))
    with pytest.raises(ReadError):
        numbers(kinesis)
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    "reply",
    [
        refusal("ProvisionedThroughputExceededException", "slow down"),
        refusal("InternalFailure", "oops", 500),
        Reply(503, b"<html>busy</html>", {"Content-Type": "text/html"}),
        Reply(200, b'{"Records":[', {"Content-Length": "100"}),
        Reply(200, b"\xff\xfe"),
        refusal("ExpiredIteratorException", "Iterator expired."),
    ],
)
def test_temporary_errors_are_retried(model: Callable[..., Model], reply: Reply) -> None:
    def hook(kinesis: Model, request: Any) -> Reply | None:
        return reply if request.operation == "GetRecords" and kinesis.count("GetRecords") <= 2 else None

    assert numbers(filled(model, hook), pace="off") == [0, 1, 2]


def test_an_unreachable_endpoint_is_reported() -> None:
    transport = Transport.connect("orders", "us-east-1", None, "http://127.0.0.1:9", None, 4, 1.0)
    failure = transport.send(Request(1, "list-shards", None, "Kinesis_20131202.ListShards", "{}", 1000))
    assert failure.transient and "cannot connect to http://127.0.0.1:9" in failure.message  # type: ignore[union-attr]


def test_logs_contain_no_secrets(model: Callable[..., Model], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    session = botocore.session.Session()
    session.set_credentials("key", "marked-secret", "marked-token")
    kinesis = filled(model)
    assert numbers(kinesis, session=session) == [0, 1, 2]
    assert kinesis.requests[0].headers["X-Amz-Security-Token"] == "marked-token"
    assert "marked" not in caplog.text and caplog.records


def test_a_missing_region_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(AwsError, match="no region is set") as raised:
        read("orders")
    assert raised.value.hint


def test_missing_credentials_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(AwsError, match="no AWS credentials found") as raised:
        read("orders")
    assert raised.value.hint and "aws sso login" in raised.value.hint


def test_a_profile_sets_credentials_region_and_endpoint(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    kinesis = filled(model)
    config = tmp_path / "config"
    config.write_text(
        "[profile other]\nregion = eu-west-3\naws_access_key_id = of-the-profile\naws_secret_access_key = s\n"
        f"endpoint_url = {kinesis.url}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    assert [message["n"] for message in read("orders", profile="other")] == [0, 1, 2]
    assert "Credential=of-the-profile/" in kinesis.requests[0].headers["Authorization"]
    assert "/eu-west-3/kinesis/" in kinesis.requests[0].headers["Authorization"]
    with pytest.raises(AwsError, match="none"):
        read("orders", profile="none")


def test_an_arn_sets_the_region(model: Callable[..., Model]) -> None:
    kinesis = filled(model)
    arn = "arn:aws:kinesis:ap-south-1:000000000000:stream/orders"
    assert len(list(read(arn, endpoint_url=kinesis.url))) == 3
    assert "/ap-south-1/kinesis/" in kinesis.requests[0].headers["Authorization"]
    assert kinesis.requests[0].body == {"StreamARN": arn}
    with pytest.raises(OptionError, match="region is not ap-south-1, the region of the ARN: us-east-1"):
        read(arn, region="us-east-1")


def test_boto3_sessions_are_accepted_and_other_objects_are_not(model: Callable[..., Model]) -> None:
    class Boto3Session:
        _session = botocore.session.Session()

    Boto3Session._session.set_credentials("of-boto3", "s")
    kinesis = filled(model)
    assert numbers(kinesis, session=Boto3Session()) == [0, 1, 2]
    assert "Credential=of-boto3/" in kinesis.requests[0].headers["Authorization"]
    with pytest.raises(OptionError, match="not a boto3 or botocore session: object"):
        read("orders", session=object())
    with pytest.raises(OptionError, match="profile cannot be combined with session: p"):
        read("orders", session=Boto3Session(), profile="p")


def test_the_default_endpoint_is_that_of_botocore() -> None:
    for region, url in [
        ("us-east-1", "https://kinesis.us-east-1.amazonaws.com"),
        ("cn-north-1", "https://kinesis.cn-north-1.amazonaws.com.cn"),
    ]:
        assert Transport.connect("orders", region, None, None, None, 4, 1.0).endpoint == url


@pytest.mark.parametrize(
    ("endpoint", "is_aws"),
    [
        (None, True),
        ("https://vpce-0a1b-kinesis.us-east-1.vpce.amazonaws.com", True),
        ("https://kinesis.cn-north-1.amazonaws.com.cn", True),
        ("https://kinesis.us-east-1.api.aws:443/", True),
        ("http://127.0.0.1:4567", False),
        ("https://amazonaws.com.example.org", False),
        ("http://localstack:4566", False),
    ],
)
def test_emulators_are_distinguished_from_aws(
    monkeypatch: pytest.MonkeyPatch, endpoint: str | None, is_aws: bool
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    transport = Transport.connect("orders", None, None, endpoint, None, connections=1, read_timeout=1)
    assert transport.is_aws() == is_aws
