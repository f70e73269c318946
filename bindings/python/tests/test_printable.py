"""How text from outside is shown."""

from __future__ import annotations

import json
import sys

from conftest import CHECKOUT

from kinesis_reader._printable import printable


def test_text_is_escaped_as_in_the_golden_data() -> None:
    vectors = json.loads((CHECKOUT / "tests/golden/printable.json").read_text("utf-8"))
    assert len(vectors) > 15
    for text, shown in vectors:
        assert printable(text) == shown


def test_surrogates_are_escaped_so_that_any_text_can_be_encoded() -> None:
    assert printable("a\ud83d\udc4d\udfff") == "a\\u{d83d}\\u{dc4d}\\u{dfff}"
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    printable(everything, len(everything)).encode()


def test_printable_text_is_not_escaped_again() -> None:
    once = printable("\x1b[31m\\ \u202e\n")
    assert printable(once) == once
