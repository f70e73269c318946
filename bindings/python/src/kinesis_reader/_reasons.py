"""Error messages about connections, without secrets.

Messages of botocore and urllib3 are not passed on as they are. They contain URLs, which can hold passwords, and quote
what servers and proxies sent.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import urllib3.util
from botocore.exceptions import NoRegionError, ProfileNotFound
from urllib3.exceptions import LocationParseError

from ._errors import AwsError, Error
from ._printable import printable

CHAIN_MAX = 16
"""How many nested exceptions are searched."""


def cause(error: BaseException) -> str:
    """What went wrong, by the most specific cause."""
    inner = error
    for inner in _chain(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return printable(inner.verify_message)
        if isinstance(inner, ssl.SSLError) and inner.reason:
            return printable(inner.reason.lower().replace("_", " "))
        if isinstance(inner, OSError) and inner.errno is not None and inner.strerror:
            return printable(inner.strerror)
    return without_secrets(str(inner) or type(inner).__name__)


def without_secrets(text: str) -> str:
    """A library's message without user names, passwords and queries of URLs."""
    return printable(re.sub(r"\?\S+", "?***", re.sub(r"//\S*@", "//***@", text)))


def shown_url(url: str) -> str:
    """A refused URL without anything that is, or may have been meant as, a password."""
    scheme, separator, rest = url.rpartition("://") if url.count("://") == 1 else ("", "", url)
    end = min((rest.find(mark) for mark in "?#" if mark in rest), default=-1)
    if end >= 0 and "@" in rest[end:]:
        return printable(f"{scheme}{separator}***")
    query = "" if end < 0 else f"{rest[end]}***"
    rest = rest if end < 0 else rest[:end]
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    # `user:password` with the host forgotten looks like a host and a port.
    authority, slash, path = rest.partition("/")
    host, colon, port = authority.rpartition(":")
    if colon and not authority.startswith("[") and port and not (port.isascii() and port.isdigit()):
        authority = f"{host}:***"
    return printable(f"{scheme}{separator}{authority}{slash}{path}{query}")


def check_endpoint(url: str) -> None:
    """Refuses a URL that is no endpoint, or has parts that must not appear in error messages."""
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_whole = False
    if not is_whole or re.search(r"[\0-\x20\x7f]", url):
        raise AwsError(f"not an endpoint: {shown_url(url)}", ENDPOINT_HINT)
    if any(mark in url for mark in "@?#"):
        raise AwsError(
            f"the endpoint has a user name, a password or a query: {shown_url(url)}",
            "leave them out: requests are signed with AWS credentials",
        )


def check_proxy(proxy: str) -> str:
    """Refuses an invalid proxy, and returns its URL without a password."""
    # botocore completes it in the same way.
    url = proxy if proxy.startswith(("http:", "https:")) else f"http://{proxy.removeprefix('//')}"
    try:
        parsed = urllib3.util.parse_url(url)
        parts = urlsplit(url)
        user = f"{parts.username or ''}{parts.password or ''}"
        is_whole = parsed.scheme in ("http", "https") and bool(parsed.host) and (parts.port or 1) > 0
        is_whole = is_whole and not re.search(r"[\0-\x20\x7f?#]", url) and not re.search(r"@|//", parts.path)
    except (LocationParseError, ValueError):
        is_whole = False
    if not is_whole:
        hint = "proxies look like http://host:3128 or http://user:password@host:3128"
        raise AwsError(f"not a proxy: {shown_url(proxy)}", hint)
    if not user.isascii():
        hint = "write other characters as %XX"
        raise AwsError(f"the proxy's user name or password is not ASCII: {shown_url(proxy)}", hint)
    return printable(f"{parsed.scheme}://{parsed.netloc}")


def in_words(error: Exception) -> Error:
    """Why botocore cannot be set up."""
    if isinstance(error, Error):
        return error
    if isinstance(error, ProfileNotFound):
        return AwsError(printable(error), "profiles are kept in ~/.aws/config and ~/.aws/credentials")
    if isinstance(error, NoRegionError):
        hint = "give region, or set AWS_REGION or AWS_DEFAULT_REGION, or name a region in the profile"
        return AwsError("no region is set", hint)
    words = str(error) or type(error).__name__
    if isinstance(error, ValueError) and words.startswith("Invalid endpoint: "):
        return AwsError(f"not an endpoint: {shown_url(words.partition(': ')[2])}", ENDPOINT_HINT)
    hint = "look at the settings in ~/.aws/config and ~/.aws/credentials, and at those of the environment"
    return AwsError(f"Kinesis cannot be asked: {without_secrets(words)}", hint)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, the outermost first."""
    seen: list[BaseException] = []
    inner: BaseException | None = error
    while inner is not None and inner not in seen and len(seen) < CHAIN_MAX:
        seen.append(inner)
        yield inner
        within = [
            getattr(inner, "kwargs", {}).get("error"),
            getattr(inner, "reason", None),
            getattr(inner, "original_error", None),
            *reversed(inner.args),
            inner.__cause__,
            inner.__context__,
        ]
        inner = next((found for found in within if isinstance(found, BaseException) and found not in seen), None)


ENDPOINT_HINT = "endpoints look like https://kinesis.us-east-1.amazonaws.com or http://localhost:4567"
