"""Makes text from outside safe for terminals, logs and exceptions.

What a service, a proxy, a certificate or a credential process says can contain anything. Printed as it is, it could
move the cursor, forge a log line or be displayed as other text. The component does the same in its messages, and both
are tested with `tests/golden/printable.json`.
"""

from __future__ import annotations

import re

CHARACTERS_MAX = 1000
"""The most characters of a text that are shown."""

_HIDDEN = re.compile(
    "["
    "\0-\x1f\x7f-\x9f"  # Control characters: C0, DEL, C1.
    "\u2028\u2029"  # Ends of lines and paragraphs.
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # Directions of text.
    "\u200b-\u200d\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # Without a width, or invisible.
    "\ud800-\udfff"  # Halves of characters.
    "]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: object, characters_max: int = CHARACTERS_MAX) -> str:
    """Escapes characters that are not displayed as themselves, and cuts long text. Backslashes are kept."""
    try:
        text = str(text)
    except ValueError:
        return shown(text)
    left = len(text) - characters_max
    escaped = _HIDDEN.sub(_escaped, text[:characters_max])
    return escaped if left <= 0 else f"{escaped}… ({left} characters more)"


def shown(value: object) -> str:
    """A value as Python writes it."""
    try:
        return printable(repr(value))
    except ValueError:
        # Python refuses to format integers of more than 4,300 digits.
        return f"{type(value).__name__} that is too long to show"


def _escaped(hidden: re.Match[str]) -> str:
    character = hidden[0]
    return _SHORT.get(character) or f"\\u{{{ord(character):x}}}"
