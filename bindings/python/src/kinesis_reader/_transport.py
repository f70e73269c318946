"""Signs requests and sends them to one endpoint.

The component decides what to request and judges every answer. This module carries requests and answers, limits their
time and size, and sends a request again in two cases that the component cannot see: if the clock was wrong, and if
there are new credentials. It follows no redirects and logs no headers or bodies.

Region, endpoint, proxies, certificates and credentials come from botocore, as in every AWS tool for Python.
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
from ._reasons import cause, check_endpoint, check_proxy, configuration_error
from ._signing import Clock, Signer, parse_http_date

log = logging.getLogger("kinesis_reader")

CONTENT_TYPE = "application/x-amz-json-1.1"

CONNECT_TIMEOUT = 10.0
"""Seconds."""

ANSWER_SIZE_MAX = {"get-records": 64 << 20, "list-shards": 16 << 20}
"""Bytes of an answer, by operation. A page of 10 MiB is about 14 MiB in base64, and less than twice that in any
encoding. A page of a listing has at most 10,000 shards of less than 900 bytes each."""

SMALL_ANSWER_SIZE_MAX = 64 << 10
"""Bytes of any other answer. A shard iterator has at most 512 characters; a summary of a stream has a few hundred
bytes."""

ERROR_SIZE_MAX = 1 << 20
"""Bytes of an answer that is an error. The rest is cut off: the beginning says what went wrong."""

CLOCK_CORRECTIONS_MAX = 2
"""Clock corrections per request. If the date that the first one relied on came from a wrong clock on the way, the
second one repairs it."""

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
"""Suffixes of the names of AWS's endpoints, in all partitions."""

CREDENTIALS_REFUSED = (b"ExpiredTokenException", b"UnrecognizedClientException", b"InvalidClientTokenId")
CLOCK_REFUSED = (b"InvalidSignatureException", b"SignatureDoesNotMatch", b"RequestExpired", b"RequestTimeTooSkewed")


class Transport:
    """Kinesis at its endpoint, for use by several threads at once."""

    def __init__(
        self,
        endpoint: str,
        region: str,
        credentials: CredentialCache,
        http: _http.Http,
        proxy: str | None,
        timeout: float,
    ) -> None:
        self.endpoint = endpoint
        self.region = region
        self.clock = Clock()
        self._credentials = credentials
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
        """Finds the endpoint and the credentials. Nothing is sent to Kinesis."""
        # The AWS command line reads this variable, but botocore does not.
        environment_region = os.environ.get("AWS_REGION") or None if session is None else None
        session = _botocore_session(session, profile)
        if stream.startswith("arn:"):
            arn_region = stream.split(":")[3]
            if region not in (None, arn_region):
                raise OptionError(f"region is not {arn_region}, the region of the ARN: {region}", "leave out region")
            region = arn_region
        client, verify = _client(session, region or environment_region, endpoint_url, read_timeout)
        endpoint, settings = client.meta.endpoint_url, client.meta.config
        check_endpoint(endpoint)
        proxies = settings.proxies or get_environ_proxies(endpoint)
        proxy = proxies.get(urlsplit(endpoint).scheme)
        proxy = check_proxy(proxy) if proxy else None
        credentials = CredentialCache(session)
        try:
            http = _http.Http(
                verify=verify,
                proxies=proxies,
                proxies_config=settings.proxies_config,
                client_cert=settings.client_cert,
                timeout=(CONNECT_TIMEOUT, read_timeout),
                max_pool_connections=connections,
                # A request's headers and body are sent one after the other. Without this, the body would wait until the
                # server acknowledges the headers, which systems delay by about 40 ms.
                socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            )
        except Exception as error:
            hint = "check the settings of proxies and certificates"
            raise AwsError(f"cannot set up HTTP connections: {cause(error)}", hint) from None
        return cls(endpoint, client.meta.region_name, credentials, http, proxy, read_timeout)

    def is_aws(self) -> bool:
        """Whether the endpoint is one of AWS's own, public or in a VPC, rather than an emulator, for example."""
        host = urlsplit(self.endpoint).hostname or ""
        return host.endswith(tuple(f".{suffix}" for suffix in AWS_SUFFIXES))

    def send(self, request: Request, deadline: float | None = None) -> Response | Failure:
        """Sends a request and waits for its response, of any status, until `deadline`, a time of `time.monotonic`."""
        try:
            return self._exchange(request, time.monotonic() + self._timeout if deadline is None else deadline)
        except CannotSign as error:
            return error.failure
        except SSLError as error:
            return Failure(f"cannot connect securely to {self._shown}: {cause(error)}", transient=False)
        except ProxyConnectionError as error:
            return Failure(f"cannot connect to the proxy {self._proxy}: {cause(error)}", transient=True)
        except EndpointConnectionError as error:
            return Failure(f"cannot connect to {self._shown}: {cause(error)}", transient=True)
        except (ConnectTimeoutError, ReadTimeoutError, _http.DeadlineExceeded):
            return Failure(f"no answer from {self._shown} in time", transient=True)
        except _http.Incomplete:
            return Failure(f"incomplete answer from {self._shown}", transient=True)
        except _http.TooLarge as error:
            return self._too_large(error.size_max)
        except (BotoCoreError, HTTPError) as error:
            return Failure(f"lost the connection to {self._shown}: {cause(error)}", transient=True)
        except Exception as error:  # The reader would wait for an answer that is not reported.
            return Failure(f"cannot send the request: {type(error).__name__}: {cause(error)}", transient=True)

    def close(self) -> None:
        """Closes all connections. Requests in flight end without a response."""
        self._http.close()

    @property
    def _shown(self) -> str:
        return printable(self.endpoint)

    def _too_large(self, size_max: int) -> Failure:
        if size_max < 1 << 20:
            # Kinesis does not send such an answer, so it came from somewhere else.
            return Failure(f"answer from {self._shown} is larger than {size_max >> 10} KiB", transient=True)
        # The page would be as large the next time.
        return Failure(f"answer from {self._shown} is larger than {size_max >> 20} MiB", transient=False)

    def _exchange(self, request: Request, deadline: float) -> Response:
        """Sends a request, and again for as long as the clock or the credentials can be corrected."""
        credentials = self._credentials.current()
        corrections, is_renewed = 0, False
        while True:
            signed_at = self.clock.now()
            answer = self._post(request, credentials, signed_at, deadline)
            if answer.is_error(CLOCK_REFUSED) and corrections < CLOCK_CORRECTIONS_MAX:
                if answer.date is None or not self.clock.correct(signed_at, answer.date):
                    return answer.response(signed_at)
                corrections += 1
                log.debug("the clock is wrong; signing with the service's time")
            elif answer.is_error(CREDENTIALS_REFUSED) and not is_renewed:
                fresh = self._credentials.replace(credentials)
                if fresh is None:
                    return answer.response(signed_at)
                credentials, is_renewed = fresh, True
                log.debug("the service refused the credentials; signing with new ones")
            else:
                return answer.response(signed_at)

    def _post(self, request: Request, credentials: Any, signed_at: float, deadline: float) -> Answer:
        headers = {"Content-Type": CONTENT_TYPE, "X-Amz-Target": request.target, "User-Agent": "kinesis-reader"}
        signed = AWSRequest(method="POST", url=self.endpoint, data=request.body.encode(), headers=headers)
        signed.stream_output = True
        Signer(credentials, "kinesis", self.region, signed_at).add_auth(signed)
        size_max = ANSWER_SIZE_MAX.get(request.operation, SMALL_ANSWER_SIZE_MAX)
        return Answer(*self._http.exchange(signed.prepare(), deadline, size_max, ERROR_SIZE_MAX))


class Answer:
    """A response that was read to its end."""

    def __init__(self, status: int, headers: Any, body: bytearray) -> None:
        self._status = status
        self._headers = headers
        self._body = body
        self.date = parse_http_date(headers.get("date"))

    def is_error(self, names: tuple[bytes, ...]) -> bool:
        """Whether this is an error with one of these names, which is in a header or in the body."""
        if self._status not in (400, 401, 403):
            return False
        kind = (self._headers.get("x-amzn-errortype") or "").encode("utf-8", "replace")
        return any(name in kind or name in self._body for name in names)

    def response(self, signed_at: float) -> Response:
        """Returns the response for the component, with invalid UTF-8 replaced."""
        # The component's timestamps have no sign.
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
    """Replaces invalid UTF-8, piece by piece, because a `str` can take four times as much memory."""
    if data.isascii():
        return data
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    valid = bytearray()
    for start in range(0, len(data), 1 << 20):
        valid += decoder.decode(data[start : start + (1 << 20)]).encode()
    valid += decoder.decode(b"", final=True).encode()
    return valid


def _botocore_session(session: Any, profile: str | None) -> Any:
    if session is None:
        try:
            return botocore.session.Session(profile=profile)
        except Exception as error:
            raise configuration_error(error) from None
    if profile is not None:
        raise OptionError(
            f"profile cannot be combined with session: {printable(profile)}", "create the session with that profile"
        )
    inner = getattr(session, "_session", session)  # A boto3 session wraps one of botocore.
    if not isinstance(inner, botocore.session.Session):
        raise OptionError(f"not a boto3 or botocore session: {type(session).__name__}", "use boto3.Session()")
    return inner


def _client(session: Any, region: str | None, endpoint_url: str | None, read_timeout: float) -> tuple[Any, Any]:
    """Creates a botocore client for its region, endpoint and settings, and finds the certificates to verify with.

    Requests are sent without the client.
    """
    if endpoint_url is not None:
        check_endpoint(str(endpoint_url))
    timeouts = Config(connect_timeout=CONNECT_TIMEOUT, read_timeout=read_timeout)
    try:
        client = session.create_client("kinesis", region_name=region, endpoint_url=endpoint_url, config=timeouts)
        client.close()
        return client, session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or True
    except InvalidRegionError:
        raise AwsError(f"invalid region: {printable(region)}", "regions look like us-east-1") from None
    except Exception as error:
        # Messages of botocore can contain secrets, so the error is not chained.
        raise configuration_error(error) from None
