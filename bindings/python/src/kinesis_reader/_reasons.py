"""Error messages about connections and the AWS configuration, without secrets.

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

CAUSES_MAX = 16
"""How many nested exceptions to search."""

_ADDRESS = r"\[[0-9A-Fa-f:.]+\]"
"""An IPv6 address in a URL."""

_AUTHORITY = re.compile(rf"({_ADDRESS}|[^][%:]+)(:[0-9]*)?")
"""A valid host and port, without a user name."""

_HINT_ENDPOINT = "endpoints look like https://kinesis.us-east-1.amazonaws.com or http://localhost:4567"


def cause(error: BaseException) -> str:
    """Returns the most specific reason for an error."""
    inner = error
    for inner in _causes(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return printable(f"invalid certificate: {inner.verify_message}")
        if isinstance(inner, ssl.SSLError) and inner.reason:
            return printable(inner.reason.lower().replace("_", " "))
        if isinstance(inner, OSError) and inner.errno is not None and inner.strerror:
            return printable(inner.strerror)
    return without_secrets(str(inner) or type(inner).__name__)


def without_secrets(text: str) -> str:
    """Removes user names, passwords and queries from the URLs in a library's message."""
    return printable(re.sub(r"\?\S+", "?***", re.sub(r"//\S*@", "//***@", text)))


def redacted_url(url: str) -> str:
    """Returns an invalid URL without anything that is, or may have been meant as, a password.

    `tests/golden/endpoints.json` has examples, with which all packages are tested.
    """
    scheme = found[0] if (found := _SCHEME.match(url)) else ""
    rest, mark, query = re.fullmatch(r"([^?#]*)([?#]?)(.*)", url[len(scheme) :], re.DOTALL).groups()  # type: ignore[union-attr]
    if _AT.search(query):
        return printable(f"{scheme}***")
    user, rest = ("", rest) if (found := _AT.match(rest)) is None else ("***@", rest[found.end() :])
    authority, path = re.fullmatch(r"([^/\\]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    host = _redacted_authority(authority, path)
    if host.endswith("***"):
        # What looks like a path may be the rest of a password.
        path = ""
    return printable(f"{scheme}{user}{host}{path}{mark and mark + '***'}")


_SCHEME = re.compile(r"(?i:https?):[/\\]+|[A-Za-z0-9+.-]+://[/\\]*")
"""The scheme and the slashes after it, which may be too few or of the wrong kind."""

_AT = re.compile("(?s:.*)(?:@|%40|\uff20|\ufe6b)")
"""Everything up to the last `@`, in any spelling that may have been meant as one."""


def _redacted_authority(authority: str, path: str) -> str:
    """Hides what may be a password. If the host is missing, user name and password look like host and port."""
    if authority.startswith("["):
        found = re.match(_ADDRESS, authority)
        if found is None:
            return "***"
        return authority if re.fullmatch(r"(:[0-9]+)?", authority[found.end() :]) else f"{found[0]}***"
    host, colon, port = authority.partition(":")
    if "%" in host:
        return "***"
    is_port = re.fullmatch("[0-9]+", port) or not (port or path)
    return authority if not colon or is_port else f"{host}:***"


def check_endpoint(url: str) -> None:
    """Refuses a URL that is invalid, or that has parts that must not appear in error messages."""
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_valid = False
    is_valid = is_valid and _AUTHORITY.fullmatch(parts.netloc.rpartition("@")[2]) is not None
    if not is_valid or re.search(r"[\0-\x20\x7f]", url):
        raise AwsError(f"invalid endpoint: {redacted_url(url)}", _HINT_ENDPOINT)
    if any(mark in url for mark in "@?#"):
        raise AwsError(
            f"endpoint with a user name, password, query or fragment: {redacted_url(url)}",
            "leave it out; requests are signed with AWS credentials",
        )


def check_proxy(proxy: str) -> str:
    """Refuses an invalid proxy. Returns its URL without the password."""
    # botocore completes it in the same way.
    url = proxy if proxy.startswith(("http:", "https:")) else f"http://{proxy.removeprefix('//')}"
    try:
        parsed = urllib3.util.parse_url(url)
        parts = urlsplit(url)
        user = f"{parts.username or ''}{parts.password or ''}"
        is_valid = parsed.scheme in ("http", "https") and bool(parsed.host) and (parts.port or 1) > 0
        is_valid = is_valid and not re.search(r"[\0-\x20\x7f?#]", url) and not re.search(r"@|//", parts.path)
    except (LocationParseError, ValueError):
        is_valid = False
    if not is_valid:
        hint = "proxies look like http://host:3128 or http://user:password@host:3128"
        raise AwsError(f"invalid proxy: {redacted_url(proxy)}", hint)
    if not user.isascii():
        hint = "write other characters as %XX"
        raise AwsError(f"user name or password of the proxy is not ASCII: {redacted_url(proxy)}", hint)
    return printable(f"{parsed.scheme}://{parsed.netloc}")


def configuration_error(error: Exception) -> Error:
    """Converts an exception that botocore raised during its setup."""
    if isinstance(error, Error):
        return error
    if isinstance(error, ProfileNotFound):
        return AwsError(printable(error), "profiles are defined in ~/.aws/config and ~/.aws/credentials")
    if isinstance(error, NoRegionError):
        hint = "set the option region, AWS_REGION or AWS_DEFAULT_REGION, or the region of the profile"
        return AwsError("no region is set", hint)
    message = str(error) or type(error).__name__
    if isinstance(error, ValueError) and message.startswith("Invalid endpoint: "):
        return AwsError(f"invalid endpoint: {redacted_url(message.partition(': ')[2])}", _HINT_ENDPOINT)
    if type(error) is ValueError:
        # From the parser of URLs, whose messages quote any part of one.
        return AwsError("invalid endpoint in the AWS configuration", _HINT_ENDPOINT)
    hint = "check ~/.aws/config, ~/.aws/credentials and the environment variables of AWS"
    return AwsError(f"cannot load the AWS configuration: {without_secrets(message)}", hint)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields the error and its causes, the outermost first."""
    seen: list[BaseException] = []
    inner: BaseException | None = error
    while inner is not None and inner not in seen and len(seen) < CAUSES_MAX:
        seen.append(inner)
        yield inner
        nested = [
            getattr(inner, "kwargs", {}).get("error"),
            getattr(inner, "reason", None),
            getattr(inner, "original_error", None),
            *reversed(inner.args),
            inner.__cause__,
            inner.__context__,
        ]
        inner = next((found for found in nested if isinstance(found, BaseException) and found not in seen), None)
