"""Signs requests, with a clock that can be corrected."""

from __future__ import annotations

import re
import time
from calendar import timegm
from datetime import datetime, timezone
from email.utils import parsedate_tz
from typing import Any

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth

OFFSET_MIN = 240.0
"""Seconds. AWS accepts a signature within five minutes of its own time
(<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>)."""

PLAUSIBLE = (1_420_070_400.0, 4_102_444_800.0)
"""2015 to 2100, in Unix seconds. A `Date` outside of this comes from a broken clock and is not used for signing."""

SIGNABLE_MAX = 253_402_300_799.0
"""The last second of the year 9999, which is the last that `X-Amz-Date` can express."""


class Clock:
    """The time to sign with: the system's, corrected by the service's."""

    def __init__(self) -> None:
        self._offset = 0.0

    def now(self) -> float:
        """Returns Unix seconds, limited to what can be signed."""
        return min(max(0.0, time.time() + self._offset), SIGNABLE_MAX)

    def correct(self, signed_at: float, date: float) -> bool:
        """Adopts the service's time if it differs much from the time that was signed. It replaces an earlier
        correction.

        Returns `False` if the time is implausible, or so close that the signature was refused for another reason.
        """
        if not PLAUSIBLE[0] <= date < PLAUSIBLE[1] or abs(date - signed_at) < OFFSET_MIN:
            return False
        self._offset = date - time.time()
        return True


def parse_http_date(header: str | None) -> float | None:
    """Returns the time of a `Date` header in Unix seconds, or `None` if it is missing or invalid."""
    if header is None or len(header) > 64:
        return None
    try:
        parsed = parsedate_tz(header)
        return None if parsed is None else float(timegm((*parsed[:6], 0, 0, 0)) - (parsed[9] or 0))
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def can_sign(credentials: Any) -> bool:
    """Whether the credentials fit into headers. If they did not, exceptions of HTTP clients would show them."""
    parts = (credentials.access_key, credentials.secret_key, credentials.token or "-")
    return all(isinstance(text, str) and re.fullmatch(r"[!-~]+", text) for text in parts)


class Signer(SigV4Auth):
    """botocore's Signature Version 4 at a given time, without its logging, which would reveal session tokens."""

    def __init__(self, credentials: Any, service: str, region: str, at: float) -> None:
        super().__init__(credentials, service, region)
        self._at = datetime.fromtimestamp(at, timezone.utc)

    def add_auth(self, request: Any) -> None:
        request.context["timestamp"] = self._at.strftime(SIGV4_TIMESTAMP)
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))
