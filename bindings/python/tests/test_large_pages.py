"""Records that are small in the stream and large in Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from typing import Any

from model import Model, aggregate

from kinesis_reader import read

MIB = 1 << 20


EACH = 30_000


def grown(kinesis: Model) -> Model:
    """With one page, of 360 KB, that is 64 MB of lines: messages without data, some with a key of 256 characters."""
    kinesis[0].add(aggregate(*[b""] * EACH, key="\x01" * 256))
    kinesis[0].add(aggregate(*[b""] * EACH, key="k"))
    return kinesis


def positions(messages: Any) -> list[tuple[str, int]]:
    return [(message["_kinesis"]["seq_no"], message["_kinesis"]["sub_seq"]) for message in messages]


def test_a_page_comes_in_batches_of_bounded_lines(model: Callable[..., Model]) -> None:
    kinesis = grown(model())
    batches = read("orders", endpoint_url=kinesis.url, batches=True)
    had: list[tuple[str, int]] = []
    sizes = []
    for batch in batches:
        sizes.append(len(batch.lines.encode()))
        had += positions(batch)
        batch.ack()
    assert len(sizes) >= 2 and max(sizes) <= 32 * MIB and min(sizes[:-1]) > 31 * MIB
    numbers = sorted({int(sequence) for sequence, _ in had})
    assert had == [(str(sequence), sub) for sequence in numbers for sub in range(EACH)]
    assert kinesis.count("GetRecords") == 1


def test_a_part_of_a_page_is_gone_on_with(model: Callable[..., Model]) -> None:
    kinesis = grown(model())

    class Kept:
        checkpoint: str | None = None

        def load(self) -> str | None:
            return self.checkpoint

        def save(self, checkpoint: str) -> None:
            self.checkpoint = checkpoint

    state = Kept()
    had = []
    with read("orders", endpoint_url=kinesis.url, batches=True, state=state) as batches:
        for batch in islice(batches, 1):
            had += positions(batch)
            batch.ack()
    with read("orders", endpoint_url=kinesis.url, state=state) as messages:
        had += positions(messages)
    assert len(had) == len(set(had)) == 2 * EACH and had == sorted(had, key=lambda position: (int(position[0]), position[1]))


def test_a_key_that_no_key_can_be_makes_a_record_one_message_of_its_size(model: Callable[..., Model]) -> None:
    kinesis = model()
    kinesis[0].add({"n": 0})
    kinesis[0].add(aggregate(*[b""] * 1000, key="K" * 1_000_000))
    kinesis[0].add({"n": 1})
    program = """
import re, sys
from kinesis_reader import read
count = sum(1 for _ in read("orders", endpoint_url=sys.argv[1]))
# Not ru_maxrss, which begins with that of the process that started this one.
print(count, int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""
    said = subprocess.run([sys.executable, "-c", program, kinesis.url], capture_output=True, text=True, check=True)
    count, mebibytes = map(int, said.stdout.split())
    assert count == 3 and mebibytes < 400
