"""The exceptions of this package, each with a hint about what to do."""

from __future__ import annotations

from ._printable import CHARACTERS_MAX, printable


class Error(Exception):
    """The base class of all errors. `hint` says what to do about it, if anything can be done.

    Message and hint are safe to print: text from outside is escaped, and cut if it is long.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        # Each part from outside was already cut on its own.
        super().__init__(printable(message, 8 * CHARACTERS_MAX))
        self.hint = None if hint is None else printable(hint, 8 * CHARACTERS_MAX)

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.hint is None else f"{message}\nhint: {self.hint}"


class OptionError(Error, ValueError):
    """An option is unknown or has an invalid value. Nothing was sent."""


class StateError(Error):
    """The checkpoint cannot be loaded, used or saved. The one saved last is still there."""


class AwsError(Error):
    """There is no region, no credentials or no valid endpoint."""


class ReadError(Error):
    """A request failed for good and ended the run. What was acknowledged is saved.

    `code` is the name of Kinesis's error, such as `ResourceNotFoundException`, if Kinesis answered with one.
    """

    def __init__(self, message: str, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message, hint)
        self.code = None if code is None else printable(code)
