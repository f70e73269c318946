"""The way to Kinesis: one signed `POST` after another to one endpoint.

The component says what to ask and judges every answer. This module only carries: it signs, sends, bounds time and size,
and puts two things right that the component cannot see, for each request anew: a clock that is off, and credentials
that have been replaced. It never follows a redirect, and it never logs a header or a body.

Region, endpoint, proxies, certificates and credentials are found by botocore, as every AWS tool for Python finds them.
"""

from __future__ import annotations

import codecs
import logging
import os
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ConnectTimeoutError,
    EndpointConnectionError,
    InvalidRegionError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

from . import _http
from ._component import Failure, Request, Response
from ._credentials import CannotSign, CredentialCache
from ._errors import AwsError, OptionError
from ._printable import printable
from ._reasons import cause, check_endpoint, check_proxy, in_words
from ._signing import Clock, Signer, http_date

log = logging.getLogger("kinesis_reader")

CONTENT_TYPE = "application/x-amz-json-1.1"

CONNECT_TIMEOUT = 10.0
"""Seconds."""

ANSWER_SIZE_MAX = {"get-records": 64 << 20, "list-shards": 16 << 20}
"""Bytes of an answer, by operation. A page of 10 MiB is some 14 MiB as base64, less than twice that in any encoding.
A page of a listing has 10,000 shards at most, of less than 900 bytes each."""

SMALL_ANSWER_SIZE_MAX = 64 << 10
"""Bytes of any other answer. An iterator has 512 characters at most; a summary of a stream is a few hundred bytes."""

ERROR_SIZE_MAX = 1 << 20
"""Bytes of an answer that is an error, of which the first say what it is."""

CORRECTIONS_MAX = 2
"""How often a request is signed again with a corrected clock. The first correction may come from a wrong clock on the
way, and the second one from the service."""

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

    def __init__(
        self, endpoint: str, region: str, purse: CredentialCache, http: _http.Http, proxy: str | None, timeout: float
    ) -> None:
        self.endpoint = endpoint
        self.region = region
        self.clock = Clock()
        self._purse = purse
        self._http = http
        self._proxy = proxy
        self._timeout = timeout

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
        client, verify = _client(session, region or named, endpoint_url, read_timeout)
        endpoint, settings = client.meta.endpoint_url, client.meta.config
        check_endpoint(endpoint)
        proxies = settings.proxies or get_environ_proxies(endpoint)
        proxy = proxies.get(urlsplit(endpoint).scheme)
        proxy = check_proxy(proxy) if proxy else None
        purse = CredentialCache(session)
        try:
            http = _http.Http(
                verify=verify,
                proxies=proxies,
                proxies_config=settings.proxies_config,
                client_cert=settings.client_cert,
                timeout=(CONNECT_TIMEOUT, read_timeout),
                max_pool_connections=connections,
                # Head and body of a request are sent one after the other. Without it the second one waits for the
                # answer to the first, which systems hold back for some 40 ms.
                socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            )
        except Exception as error:
            raise AwsError(f"Kinesis cannot be asked: {cause(error)}", "look at proxies and certificates") from None
        return cls(endpoint, client.meta.region_name, purse, http, proxy, read_timeout)

    def is_of_aws(self) -> bool:
        """Whether the endpoint is AWS's own, public or in a VPC, and no emulator or the like."""
        host = urlsplit(self.endpoint).hostname or ""
        return host.endswith(tuple(f".{suffix}" for suffix in AWS_SUFFIXES))

    def send(self, request: Request, due: float | None = None) -> Response | Failure:
        """Sends one request and waits for its response, of any status, until `due` by `time.monotonic`."""
        try:
            return self._exchange(request, time.monotonic() + self._timeout if due is None else due)
        except CannotSign as error:
            return error.failure
        except SSLError as error:
            return Failure(f"the connection is not secure: {cause(error)}", transient=False)
        except ProxyConnectionError as error:
            return Failure(f"there is no connection to the proxy {self._proxy}: {cause(error)}", transient=True)
        except EndpointConnectionError as error:
            return Failure(f"there is no connection to {self._shown}: {cause(error)}", transient=True)
        except (ConnectTimeoutError, ReadTimeoutError, _http.OutOfTime):
            return Failure(f"no answer in time from {self._shown}", transient=True)
        except _http.EndedEarly:
            return Failure(f"the answer ended early: {self._shown}", transient=True)
        except _http.TooLarge as error:
            return self._too_large(error.most)
        except (BotoCoreError, HTTPError) as error:
            return Failure(f"the connection to {self._shown} was gap: {cause(error)}", transient=True)
        except Exception as error:  # What is not told to the reader would keep it waiting.
            why = f"{type(error).__name__}: {cause(error)}"
            return Failure(f"the request cannot be sent: {why}", transient=True)

    def close(self) -> None:
        """Closes all connections. Requests that are out end without a response."""
        self._http.close()

    @property
    def _shown(self) -> str:
        return printable(self.endpoint)

    def _too_large(self, most: int) -> Failure:
        if most < 1 << 20:
            # Kinesis does not send such a response, so it came from somewhere else.
            return Failure(f"an answer larger than {most >> 10} KiB from {self._shown}", transient=True)
        # A page will be as large the next time.
        return Failure(f"an answer larger than {most >> 20} MiB from {self._shown}", transient=False)

    def _exchange(self, request: Request, due: float) -> Response:
        """Sends a request until there is nothing left to put right."""
        credentials = self._purse.current()
        corrections, is_renewed = 0, False
        while True:
            signed_at = self.clock.now()
            answer = self._post(request, credentials, signed_at, due)
            if answer.says(WRONG_CLOCK) and corrections < CORRECTIONS_MAX:
                if answer.date is None or not self.clock.correct(signed_at, answer.date):
                    return answer.response(signed_at)
                corrections += 1
                log.debug("the clock is off: signing by the service's")
            elif answer.says(OLD_CREDENTIALS) and not is_renewed:
                fresh = self._purse.replace(credentials)
                if fresh is None:
                    return answer.response(signed_at)
                credentials, is_renewed = fresh, True
                log.debug("the credentials are no longer taken: signing with new ones")
            else:
                return answer.response(signed_at)

    def _post(self, request: Request, credentials: Any, at: float, due: float) -> Answer:
        headers = {"Content-Type": CONTENT_TYPE, "X-Amz-Target": request.target, "User-Agent": "kinesis-reader"}
        signed = AWSRequest(method="POST", url=self.endpoint, data=request.body.encode(), headers=headers)
        signed.stream_output = True
        Signer(credentials, "kinesis", self.region, at).add_auth(signed)
        most = ANSWER_SIZE_MAX.get(request.operation, SMALL_ANSWER_SIZE_MAX)
        return Answer(*self._http.exchange(signed.prepare(), due, most, ERROR_SIZE_MAX))


class Answer:
    """A response that was read."""

    def __init__(self, status: int, headers: Any, body: bytearray) -> None:
        self._status = status
        self._headers = headers
        self._body = body
        self.date = http_date(headers.get("date"))

    def says(self, names: tuple[bytes, ...]) -> bool:
        """Whether it is an error of one of these names, in its header or its body."""
        if self._status not in (400, 401, 403):
            return False
        kind = (self._headers.get("x-amzn-errortype") or "").encode("utf-8", "replace")
        return any(name in kind or name in self._body for name in names)

    def response(self, signed_at: float) -> Response:
        """The answer for the component, with what is not UTF-8 replaced."""
        # The component's timestamps begin in 1970.
        date = None if self.date is None or self.date < 0 else int(self.date * 1000)
        aws_request_id = self._headers.get("x-amzn-requestid")
        return Response(
            self._status,
            _utf8(self._body),
            None if aws_request_id is None else printable(aws_request_id),
            date,
            int(signed_at * 1000),
        )


def _utf8(data: bytearray) -> bytearray:
    """Replaces what is not UTF-8, piece by piece, as a `str` can take four times as much memory."""
    if data.isascii():
        return data
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    whole = bytearray()
    for start in range(0, len(data), 1 << 20):
        whole += decoder.decode(data[start : start + (1 << 20)]).encode()
    whole += decoder.decode(b"", final=True).encode()
    return whole


def _session(session: Any, profile: str | None) -> Any:
    if session is None:
        try:
            return botocore.session.Session(profile=profile)
        except Exception as error:
            raise in_words(error) from None
    if profile is not None:
        raise OptionError(
            "both a session and a profile are given", "give the session its profile, and leave out profile"
        )
    given, session = session, getattr(session, "_session", session)  # boto3's session holds botocore's.
    if not isinstance(session, botocore.session.Session):
        hint = "give boto3.Session() or leave it out"
        raise OptionError(f"not a session of boto3 or botocore: {type(given).__name__}", hint)
    return session


def _client(session: Any, region: str | None, endpoint_url: str | None, read_timeout: float) -> tuple[Any, Any]:
    """A client of botocore, for its region, endpoint and settings, and the certificates to verify with.

    Requests are sent without it.
    """
    if endpoint_url is not None:
        check_endpoint(str(endpoint_url))
    timeouts = Config(connect_timeout=CONNECT_TIMEOUT, read_timeout=read_timeout)
    try:
        client = session.create_client("kinesis", region_name=region, endpoint_url=endpoint_url, config=timeouts)
        client.close()
        return client, session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or True
    except InvalidRegionError:
        raise AwsError(f"not a region: {printable(region)}", "regions look like us-east-1") from None
    except Exception as error:
        # Messages of botocore can contain secrets, so the error is not chained.
        raise in_words(error) from None
