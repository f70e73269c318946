"""The way to Kinesis: one signed `POST` after another to one endpoint.

The component says what to ask and judges every answer. This module only carries: it signs, sends, bounds the size, and
puts two things right that the component cannot see, once for each request: a clock that is off, and credentials that
have been replaced. It never follows a redirect, and it never logs a header or a body.

Region, endpoint, proxies, certificates and credentials are found by botocore, as every AWS tool for Python finds them.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import (
    BotoCoreError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from ._component import Failure, Request, Response
from ._errors import AwsError, OptionError

log = logging.getLogger("kinesis_reader")

CONTENT_TYPE = "application/x-amz-json-1.1"

CONNECT_TIMEOUT = 10.0
"""Seconds."""

ANSWER_SIZE_MAX = 64 << 20
"""Bytes. A page of 10 MiB is some 14 MiB as base64."""

SKEW_MIN = 240.0
"""Seconds. AWS takes a signature that is up to five minutes old or early."""

AWS_SUFFIXES = (
    "amazonaws.com",
    "api.aws",
    "amazonaws.com.cn",
    "api.amazonwebservices.com.cn",
    "amazonaws.eu",
    "api.amazonwebservices.eu",
    "ic.gov",
    "sgov.gov",
    "api.aws.scloud",
    "adc-e.uk",
)
"""Ends of the names of AWS's endpoints, of all partitions."""

OLD_CREDENTIALS = (b"ExpiredTokenException", b"UnrecognizedClientException", b"InvalidClientTokenId")
WRONG_CLOCK = (b"InvalidSignatureException", b"SignatureDoesNotMatch", b"RequestExpired", b"RequestTimeTooSkewed")


class Transport:
    """Kinesis at its endpoint. May be used by many threads at once."""

    def __init__(self, endpoint: str, region: str, purse: Purse, http: URLLib3Session) -> None:
        self.endpoint = endpoint
        self.region = region
        self._purse = purse
        self._http = http
        self._clock = Clock()

    @classmethod
    def connect(
        cls,
        stream: str,
        region: str | None,
        profile: str | None,
        endpoint_url: str | None,
        session: Any,
        connections: int,
        read_timeout: float,
    ) -> Transport:
        """Finds endpoint and credentials. Nothing is sent to Kinesis."""
        # AWS's command line looks at it, and botocore does not.
        named = os.environ.get("AWS_REGION") or None if session is None else None
        session = _session(session, profile)
        if stream.startswith("arn:"):
            in_arn = stream.split(":")[3]
            if region not in (None, in_arn):
                raise OptionError(f"region is not that of the ARN: {region} (the ARN's is {in_arn})", "leave it out")
            region = in_arn
        region = region or named
        timeouts = Config(connect_timeout=CONNECT_TIMEOUT, read_timeout=read_timeout, max_pool_connections=connections)
        try:
            # Made for what it knows of regions, partitions and settings; requests go without it.
            client = session.create_client("kinesis", region_name=region, endpoint_url=endpoint_url, config=timeouts)
            purse = Purse(session)
            verify = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or True
        except ProfileNotFound as error:
            raise AwsError(str(error), "profiles are kept in ~/.aws/config and ~/.aws/credentials") from error
        except NoRegionError as error:
            hint = "give region, or set AWS_REGION or AWS_DEFAULT_REGION, or name a region in the profile"
            raise AwsError("no region is set", hint) from error
        except InvalidRegionError as error:
            raise AwsError(f"not a region: {region}", "regions look like us-east-1") from error
        except (BotoCoreError, ValueError) as error:
            hint = "endpoints look like https://kinesis.us-east-1.amazonaws.com or http://localhost:4567"
            raise AwsError(f"Kinesis cannot be asked: {error}", hint) from error
        endpoint = client.meta.endpoint_url
        settings = client.meta.config
        client.close()
        http = URLLib3Session(
            verify=verify,
            proxies=settings.proxies or get_environ_proxies(endpoint),
            proxies_config=settings.proxies_config,
            client_cert=settings.client_cert,
            timeout=(CONNECT_TIMEOUT, read_timeout),
            max_pool_connections=connections,
            # Head and body of a request are sent one after the other. Without it the second one waits for the answer to
            # the first, which systems hold back for some 40 ms.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        return cls(endpoint, client.meta.region_name, purse, http)

    def is_of_aws(self) -> bool:
        """Whether the endpoint is AWS's own, public or in a VPC, and no emulator or the like."""
        host = urlsplit(self.endpoint).hostname or ""
        return host.endswith(tuple(f".{suffix}" for suffix in AWS_SUFFIXES))

    def send(self, request: Request) -> Response | Failure:
        """Sends one request and waits for its answer, of any status."""
        try:
            return self._exchange(request)
        except NoCredentialsError:
            return Failure("no AWS credentials were found", transient=False)
        except SSLError as error:
            return Failure(f"the connection is not secure: {_cause(error)}", transient=False)
        except EndpointConnectionError as error:
            return Failure(f"there is no connection to {self.endpoint}: {_cause(error)}", transient=True)
        except (ConnectTimeoutError, ReadTimeoutError):
            return Failure(f"no answer in time from {self.endpoint}", transient=True)
        except HTTPClientError as error:
            return Failure(f"the connection to {self.endpoint} was lost: {_cause(error)}", transient=True)
        except BotoCoreError as error:
            # Of the kind that credentials raise when their source does not answer.
            return Failure(f"the AWS credentials cannot be had: {error}", transient=True)
        except Exception as error:  # What is not told to the reader would keep it waiting.
            log.debug("sending failed", exc_info=True)
            return Failure(f"the request cannot be sent: {type(error).__name__}: {error}", transient=True)

    def close(self) -> None:
        """Closes connections that are idle."""
        self._http.close()

    def _exchange(self, request: Request) -> Response | Failure:
        credentials = self._purse.current()
        signed_at = self._clock.now()
        answer = self._post(request, credentials, signed_at)
        if isinstance(answer, Failure):
            return answer
        if answer.says(WRONG_CLOCK) and answer.date is not None and self._clock.correct(signed_at, answer.date):
            log.debug("the clock is off: signing by the service's")
        elif answer.says(OLD_CREDENTIALS) and (fresh := self._purse.replace(credentials)) is not None:
            log.debug("the credentials are no longer taken: signing with new ones")
            credentials = fresh
        else:
            return answer.response()
        answer = self._post(request, credentials, self._clock.now())
        return answer if isinstance(answer, Failure) else answer.response()

    def _post(self, request: Request, credentials: Any, at: float) -> Answer | Failure:
        headers = {"Content-Type": CONTENT_TYPE, "X-Amz-Target": request.target, "User-Agent": "kinesis-reader"}
        signed = AWSRequest(method="POST", url=self.endpoint, data=request.body.encode(), headers=headers)
        signed.stream_output = True
        _Signer(credentials, "kinesis", self.region, at).add_auth(signed)
        answer = self._http.send(signed.prepare())
        body = answer.raw.read(ANSWER_SIZE_MAX + 1)
        if len(body) > ANSWER_SIZE_MAX:
            answer.raw.close()
            return Failure(f"an answer larger than {ANSWER_SIZE_MAX >> 20} MiB from {self.endpoint}", transient=False)
        announced = answer.headers.get("content-length")
        if announced is not None and announced.isdigit() and len(body) < int(announced):
            answer.raw.close()
            return Failure(f"the answer ended early: {self.endpoint}", transient=True)
        answer.raw.release_conn()
        return Answer(answer.status_code, answer.headers, body)


class Purse:
    """The credentials of a session, which botocore renews as they near their end."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._credentials = session.get_credentials()
        self._lock = threading.Lock()
        if self._credentials is None:
            raise AwsError("no AWS credentials were found", _NO_CREDENTIALS)

    def current(self) -> Any:
        """Credentials to sign with."""
        return self._credentials.get_frozen_credentials()

    def replace(self, refused: Any) -> Any:
        """Other credentials than those, which the service does not take; `None` where there are no others."""
        with self._lock:
            if self.current() == refused:
                self._renew()
            fresh = self.current()
            return None if fresh == refused else fresh

    def _renew(self) -> None:
        credentials = self._credentials
        if isinstance(credentials, RefreshableCredentials):
            # botocore has no public way to renew before the time.
            with credentials._refresh_lock:
                credentials._protected_refresh(is_mandatory=True)
        elif credentials.method != "explicit":
            # A file or the environment may hold others by now. Those that were given by hand stand.
            found = self._session.get_component("credential_provider").load_credentials()
            self._credentials = found or credentials


class Answer:
    """An answer taken in whole."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self._status = status
        self._headers = headers
        self._body = body
        self.date = _date(headers.get("date"))

    def says(self, names: tuple[bytes, ...]) -> bool:
        """Whether it is an error of one of these names, in its header or its body."""
        if self._status not in (400, 401, 403):
            return False
        kind = (self._headers.get("x-amzn-errortype") or "").encode()
        return any(name in kind or name in self._body for name in names)

    def response(self) -> Response:
        """The answer for the component, with what is not UTF-8 replaced."""
        date = None if self.date is None else int(self.date * 1000)
        trace = self._headers.get("x-amzn-requestid")
        return Response(self._status, self._body.decode("utf-8", "replace"), trace, date)


class Clock:
    """The time to sign by: the system's, moved by what the service has told."""

    def __init__(self) -> None:
        self._offset = 0.0

    def now(self) -> float:
        return time.time() + self._offset

    def correct(self, signed_at: float, date: float) -> bool:
        """Takes the service's time where it is far from the time that was signed.

        `False`: it is not far, so the signature is wrong for another reason.
        """
        if abs(date - signed_at) < SKEW_MIN:
            return False
        self._offset = date - time.time()
        return True


class _Signer(SigV4Auth):
    """botocore's Signature Version 4, at a given time, and without a line of its log: that holds session tokens."""

    def __init__(self, credentials: Any, service: str, region: str, at: float) -> None:
        super().__init__(credentials, service, region)
        self._at = datetime.fromtimestamp(at, timezone.utc)

    def add_auth(self, request: Any) -> None:
        request.context["timestamp"] = self._at.strftime(SIGV4_TIMESTAMP)
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))


def _session(session: Any, profile: str | None) -> Any:
    if session is None:
        return botocore.session.Session(profile=profile)
    if profile is not None:
        raise OptionError(
            "both a session and a profile are given", "give the session its profile, and leave out profile"
        )
    session = getattr(session, "_session", session)  # boto3's session holds botocore's.
    if not isinstance(session, botocore.session.Session):
        raise OptionError(f"not a session of boto3 or botocore: {session!r}", "give boto3.Session() or leave it out")
    return session


def _date(header: str | None) -> float | None:
    try:
        return None if header is None else parsedate_to_datetime(header).timestamp()
    except (TypeError, ValueError):
        return None


def _cause(error: BaseException) -> str:
    inner = getattr(error, "kwargs", {}).get("error", error)
    reason = getattr(inner, "reason", None) or inner
    return str(reason)


_NO_CREDENTIALS = (
    "run `aws configure` or `aws sso login`, give profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
    "(an emulator takes any values, as `test` and `test`)"
)
