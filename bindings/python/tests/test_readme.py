"""Runs every Python example in the two READMEs unchanged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import CHECKOUT
from emulator import Emulator

READMES = [CHECKOUT / "README.md", CHECKOUT / "bindings/python/README.md"]


def examples() -> Iterator[object]:
    for readme in READMES:
        blocks = re.findall(r"^( *)```python\n(.*?)^\1```$", readme.read_text(), re.MULTILINE | re.DOTALL)
        assert blocks, f"no examples in {readme}"
        for number, (_, block) in enumerate(blocks):
            yield pytest.param(textwrap.dedent(block), id=f"{readme.parent.name or 'root'}-{number}")


@pytest.fixture(scope="module")
def orders(emulator: Emulator) -> Emulator:
    emulator.stream(2, "orders").numbers(0, 5)
    return emulator


@pytest.mark.parametrize("example", list(examples()))
def test_an_example_works(example: str, orders: Emulator, tmp_path: Path) -> None:
    environment = os.environ | {"AWS_ENDPOINT_URL": orders.url}
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    output = done.stdout
    if "pipeline" in example:
        assert "contains no failed jobs" in output
    elif "sqlite3" in example:
        assert output == "(5,)\n"
    elif ".ndjson" in example:
        assert len((tmp_path / "orders.ndjson").read_text().splitlines()) == 5
    else:
        numbers = {int(line.split()[-1]) for line in output.splitlines()}
        assert numbers == set(range(5)) or ("break" in example and 3 in numbers)
