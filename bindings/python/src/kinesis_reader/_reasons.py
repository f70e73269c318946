"""Why there is no answer, in words that can be shown.

What botocore and urllib3 say is not repeated as it is: it names URLs, which can hold passwords, and quotes what servers
and proxies sent.
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
"""Exceptions within exceptions that are looked at."""


def cause(error: BaseException) -> str:
    """What went wrong, by the innermost cause."""
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
    """Text of a library as it may be shown: no URL in it has a user's name or a password, or a query."""
    return printable(re.sub(r"\?\S+", "?***", re.sub(r"//\S*@", "//***@", text)))


def shown_url(url: str) -> str:
    """A URL that was refused, as it may be shown: without what is a password in it, or may be meant as one."""
    scheme, separator, rest = url.rpartition("://") if url.count("://") == 1 else ("", "", url)
    end = min((rest.find(mark) for mark in "?#" if mark in rest), default=-1)
    if end >= 0 and "@" in rest[end:]:
        return printable(f"{scheme}{separator}***")
    query = "" if end < 0 else f"{rest[end]}***"
    rest = rest if end < 0 else rest[:end]
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    # A user's name and a password whose host was forgotten look as host and port do.
    authority, slash, path = rest.partition("/")
    host, colon, port = authority.rpartition(":")
    if colon and not authority.startswith("[") and port and not (port.isascii() and port.isdigit()):
        authority = f"{host}:***"
    return printable(f"{scheme}{separator}{authority}{slash}{path}{query}")


def check_endpoint(url: str) -> None:
    """Refuses a URL that cannot be the service's. It is shown wherever the service does not answer."""
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_whole = False
    if not is_whole or re.search(r"[\0-\x20\x7f]", url):
        raise AwsError(f"not an endpoint: {shown_url(url)}", ENDPOINT_HINT)
    if any(mark in url for mark in "@?#"):
        raise AwsError(
            f"an endpoint has a user's name, a password or a query: {shown_url(url)}",
            "leave that out: requests are signed with AWS credentials, which have places of their own",
        )


def check_proxy(proxy: str) -> str:
    """Refuses a proxy that cannot be used, and gives its host as it may be shown."""
    # As botocore completes it.
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
        raise AwsError(f"a proxy has a user's name or a password that is not ASCII: {shown_url(proxy)}", hint)
    return printable(f"{parsed.scheme}://{parsed.netloc}")


def in_words(error: Exception) -> Error:
    """Why botocore cannot be used."""
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
    """The error, and what led to it, the outermost first."""
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
