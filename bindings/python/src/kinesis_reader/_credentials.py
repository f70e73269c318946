"""The credentials that requests are signed with, found and renewed by botocore."""

from __future__ import annotations

import threading
from typing import Any

from botocore.credentials import RefreshableCredentials
from botocore.exceptions import NoCredentialsError

from ._component import Failure
from ._errors import AwsError
from ._reasons import in_words, without_secrets
from ._signing import can_sign


class CannotSign(Exception):
    """There are no usable credentials."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure


class CredentialCache:
    """The credentials of a session, which botocore renews as they near their end."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._lock = threading.Lock()
        try:
            self._credentials = session.get_credentials()
        except Exception as error:
            raise in_words(error) from None
        if self._credentials is None:
            raise AwsError("no AWS credentials were found", _NO_CREDENTIALS)

    def current(self) -> Any:
        """Credentials to sign with."""
        try:
            credentials = self._credentials.get_frozen_credentials()
        except Exception as error:
            raise CannotSign(_no_credentials(error)) from None
        if not can_sign(credentials):
            raise CannotSign(Failure(_UNFIT, transient=False))
        return credentials

    def replace(self, refused: Any) -> Any:
        """Other credentials than those, which the service does not take; `None` where there are no others."""
        with self._lock:
            if self.current() == refused:
                try:
                    self._renew()
                except Exception as error:
                    raise CannotSign(_no_credentials(error)) from None
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


def _no_credentials(error: Exception) -> Failure:
    if isinstance(error, NoCredentialsError):
        return Failure("no AWS credentials were found", transient=False)
    # The source of the credentials may answer the next time.
    why = without_secrets(str(error) or type(error).__name__)
    return Failure(f"cannot load AWS credentials: {why}", transient=True)


_NO_CREDENTIALS = (
    "run `aws configure` or `aws sso login`, give profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
    "(an emulator takes any values, as `test` and `test`)"
)
_UNFIT = "the AWS credentials have characters that are never valid, such as spaces or line breaks"
