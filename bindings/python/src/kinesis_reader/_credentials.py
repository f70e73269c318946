"""The credentials that sign requests. botocore finds and renews them."""

from __future__ import annotations

import threading
from typing import Any

from botocore.credentials import RefreshableCredentials
from botocore.exceptions import NoCredentialsError

from ._component import Failure
from ._errors import AwsError
from ._reasons import configuration_error, without_secrets
from ._signing import can_sign


class CannotSign(Exception):
    """There are no usable credentials."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure


class CredentialCache:
    """The credentials of a session. botocore renews them before they expire, and we renew them if they are refused."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._lock = threading.Lock()
        try:
            self._credentials = session.get_credentials()
        except Exception as error:
            raise configuration_error(error) from None
        if self._credentials is None:
            raise AwsError("no AWS credentials found", _HINT)

    def current(self) -> Any:
        """Returns credentials to sign with."""
        try:
            credentials = self._credentials.get_frozen_credentials()
        except Exception as error:
            raise CannotSign(_loading_failure(error)) from None
        if not can_sign(credentials):
            message = "the AWS credentials contain characters that are not allowed in HTTP headers"
            raise CannotSign(Failure(message, transient=False))
        return credentials

    def replace(self, refused: Any) -> Any:
        """Returns other credentials than those that the service refused, or `None` if there are no others."""
        with self._lock:
            if self.current() == refused:
                try:
                    self._renew()
                except Exception as error:
                    raise CannotSign(_loading_failure(error)) from None
            fresh = self.current()
            return None if fresh == refused else fresh

    def _renew(self) -> None:
        credentials = self._credentials
        if isinstance(credentials, RefreshableCredentials):
            # botocore has no public way to renew them early.
            with credentials._refresh_lock:
                credentials._protected_refresh(is_mandatory=True)
        elif credentials.method != "explicit":
            # A file or the environment may have new ones by now. Explicitly given credentials stay.
            found = self._session.get_component("credential_provider").load_credentials()
            self._credentials = found or credentials


def _loading_failure(error: Exception) -> Failure:
    if isinstance(error, NoCredentialsError):
        return Failure("no AWS credentials found", transient=False)
    # The source of the credentials may work the next time.
    why = without_secrets(str(error) or type(error).__name__)
    return Failure(f"cannot load AWS credentials: {why}", transient=True)


_HINT = (
    "run `aws configure` or `aws sso login`, set profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
    "emulators accept any values, such as `test`"
)
