"""Records that are small in the stream and large in Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from typing import Any

from memory import Memory
from model import Model, aggregate

from kinesis_reader import read, read_batches

MIB = 1 << 20

MESSAGES = 30_000
"""User records of each aggregated record."""


def with_large_page(kinesis: Model) -> Model:
    """Adds a page of 360 KB that is rendered to 64 MB: user records without data, half of them with long keys."""
    kinesis[0].add(aggregate(*[b""] * MESSAGES, key="\x01" * 256))
    kinesis[0].add(aggregate(*[b""] * MESSAGES, key="k"))
    return kinesis


def positions(messages: Any) -> list[tuple[str, int]]:
    return [(message["_kinesis"]["seq_no"], message["_kinesis"]["sub_seq"]) for message in messages]


def test_a_page_comes_in_batches_of_bounded_lines(model: Callable[..., Model]) -> None:
    kinesis = with_large_page(model())
    batches = read_batches("orders", endpoint_url=kinesis.url)
    read_positions: list[tuple[str, int]] = []
    sizes = []
    for batch in batches:
        sizes.append(len(batch.lines.encode()))
        read_positions += positions(batch)
        batch.ack()
    assert len(sizes) >= 2 and max(sizes) <= 32 * MIB and min(sizes[:-1]) > 31 * MIB
    numbers = sorted({int(sequence) for sequence, _ in read_positions})
    assert read_positions == [(str(sequence), sub) for sequence in numbers for sub in range(MESSAGES)]
    assert kinesis.count("GetRecords") == 1


def test_a_run_continues_inside_a_page(model: Callable[..., Model]) -> None:
    kinesis = with_large_page(model())

    state = Memory()
    read_positions = []
    with read_batches("orders", endpoint_url=kinesis.url, state=state) as batches:
        for batch in islice(batches, 1):
            read_positions += positions(batch)
            batch.ack()
    with read("orders", endpoint_url=kinesis.url, state=state) as messages:
        read_positions += positions(messages)
    assert len(read_positions) == len(set(read_positions)) == 2 * MESSAGES
    assert read_positions == sorted(read_positions, key=lambda position: (int(position[0]), position[1]))


def test_an_aggregated_record_with_an_invalid_partition_key_is_one_message(model: Callable[..., Model]) -> None:
    kinesis = model()
    kinesis[0].add({"n": 0})
    kinesis[0].add(aggregate(*[b""] * 1000, key="K" * 1_000_000))
    kinesis[0].add({"n": 1})
    program = """
import re, sys
from kinesis_reader import read
count = sum(1 for _ in read("orders", endpoint_url=sys.argv[1]))
# Not ru_maxrss, which starts at the value of the parent process.
print(count, int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program, kinesis.url], capture_output=True, text=True, check=True)
    count, mebibytes = map(int, done.stdout.split())
    assert count == 3 and mebibytes < 400
