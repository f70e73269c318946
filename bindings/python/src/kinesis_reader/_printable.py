"""Makes text from outside safe for terminals, logs and exceptions.

Text from a service, a proxy, a certificate or a credential process can hold any characters. Printed unescaped, they
could move the cursor, forge a log line, or show something other than what is there. The machine and the JavaScript
package have the same function; `tests/golden/printable.json` tests all three.
"""

from __future__ import annotations

import re

CHARACTERS_MAX = 1000
"""The maximum number of characters that are shown."""

_HIDDEN = re.compile(
    "["
    "\0-\x1f\x7f-\x9f"  # Control characters: C0, DEL, C1.
    "\u2028\u2029"  # Line and paragraph separators.
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # Bidirectional controls.
    "\u200b-\u200d\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # Zero-width characters, annotations, tags.
    "\ud800-\udfff"  # Surrogates.
    "]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: object, characters_max: int = CHARACTERS_MAX) -> str:
    """Escapes characters that are not displayed as themselves, and cuts long text. Backslashes stay as they are."""
    try:
        text = str(text)
    except ValueError:
        return shown(text)
    left = len(text) - characters_max
    escaped = _HIDDEN.sub(_escape, text[:characters_max])
    return escaped if left <= 0 else f"{escaped}… ({left} characters more)"


def shown(value: object) -> str:
    """Returns the printable `repr` of a value."""
    try:
        return printable(repr(value))
    except ValueError:
        # Python refuses to format integers of more than 4,300 digits.
        return f"{type(value).__name__} that is too long to show"


def _escape(hidden: re.Match[str]) -> str:
    character = hidden[0]
    return _SHORT.get(character) or f"\\u{{{ord(character):x}}}"
