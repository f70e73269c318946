"""What can go wrong, each with what to do about it."""

from __future__ import annotations

from ._printable import CHARACTERS_MAX, printable


class Error(Exception):
    """Something went wrong; `hint`, where there is one, says what to do about it.

    Both are safe to print: text from outside is escaped, and cut if it is long.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        # Parts from outside were cut one by one before.
        super().__init__(printable(message, 8 * CHARACTERS_MAX))
        self.hint = None if hint is None else printable(hint, 8 * CHARACTERS_MAX)

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.hint is None else f"{message}\nhint: {self.hint}"


class OptionError(Error, ValueError):
    """An argument has a value that it cannot have. Nothing was sent."""


class StateError(Error):
    """The checkpoint cannot be loaded, used or saved. What was saved before is still there."""


class AwsError(Error):
    """No region, no credentials, or no such endpoint: Kinesis cannot be asked."""


class ReadError(Error):
    """Kinesis, or the way to it, ended the reading. What was acknowledged is safe.

    `code` is the error's name where Kinesis answered with one, as in `ResourceNotFoundException`.
    """

    def __init__(self, message: str, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message, hint)
        self.code = None if code is None else printable(code)
