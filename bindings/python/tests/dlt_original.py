"""Ours beside dlt's own source, which is not in this repository: `cargo xtask python --dlt-source DIR` runs this.

Its name is none that pytest looks for, so it runs where it is named, and nowhere else. `KINESIS_DLT_ORIGINAL` names the
folder that holds the package `sources.kinesis`, and `KINESIS_DLT_ORIGINAL_TESTS` the test file that belongs to it.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest
from conftest import CHECKOUT, HERE
from dlt.common import json
from dlt.common.configuration.container import Container
from dlt.common.pipeline import PipelineContext, StateInjectableContext
from emulator import REGION, Emulator, Stream

from kinesis_reader import dlt as ours

ORIGINAL = Path(os.environ["KINESIS_DLT_ORIGINAL"]).resolve() / "sources"
ITS_TESTS = Path(os.environ["KINESIS_DLT_ORIGINAL_TESTS"]).resolve()
ITS_STREAM = "dlt_ci_kinesis_source"

# Its module's name is a part of where it looks for settings and keeps its state.
sys.path.insert(0, str(ORIGINAL))
original = importlib.import_module("kinesis")

UTILS = """
def assert_load_info(info, expected=1):
    assert len(info.loads_ids) == expected
    info.raise_on_failed_jobs()


def load_table_counts(pipeline, *names):
    with pipeline.sql_client() as client:
        return {name: client.execute_sql(f"SELECT count(*) FROM {client.make_qualified_table_name(name)}")[0][0]
                for name in names}
"""
"""What its tests import from a module that they share with others."""

NOTHING_IS_SKIPPED = """
def pytest_collection_modifyitems(items):
    # It skips a test that cannot run beside others; these run one by one.
    for item in items:
        item.own_markers = [mark for mark in item.own_markers if mark.name != "skip"]
"""

SECRETS = f"""
[sources.kinesis.credentials]
aws_access_key_id = "test"
aws_secret_access_key = "test"
region_name = "{REGION}"
"""


def pytest_of(folder: Path, environment: dict[str, str], *arguments: str) -> tuple[Counter[str], str]:
    """Runs pytest in a process of its own. Gives how many tests came to what, and what was said."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", str(report), *arguments]
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert report.is_file(), said
    cases = list(ElementTree.parse(report).iter("testcase"))
    return Counter(case[0].tag if len(case) else "passed" for case in cases), said


def test_each_test_of_a_fault_fails_on_the_original(tmp_path: Path) -> None:
    faults = str(HERE / "test_dlt_faults.py")
    configuration = ("--rootdir", str(HERE), "-c", str(CHECKOUT / "bindings/python/pyproject.toml"))
    came_to, said = pytest_of(tmp_path, {"KINESIS_DLT_SOURCE": str(ORIGINAL)}, *configuration, "-rp", faults)
    assert came_to["failure"] > 0 and set(came_to) == {"failure"}, said


def test_the_originals_own_tests_pass_on_ours(emulator: Emulator, tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "bindings/python/dlt/sources", tmp_path / "sources")
    tests = tmp_path / "tests/kinesis"
    tests.mkdir(parents=True)
    shutil.copy(ITS_TESTS, tests / "test_kinesis.py")
    (tmp_path / "tests/utils.py").write_text(UTILS)
    (tests / "conftest.py").write_text(NOTHING_IS_SKIPPED)
    emulator.stream(2, ITS_STREAM)
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt/secrets.toml").write_text(SECRETS)
    settings = {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]),
        "AWS_ENDPOINT_URL": emulator.url,
    }
    came_to, said = pytest_of(tmp_path, settings, "tests/kinesis/test_kinesis.py")
    assert came_to["passed"] > 0 and set(came_to) == {"passed"}, said


@pytest.fixture(params=[(original, ours), (ours, original)], ids=["original-ours", "ours-original"])
def one_and_other(request: pytest.FixtureRequest, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    # The original knows no endpoint; botocore takes one from here.
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.url)
    Container()[PipelineContext].deactivate()
    return request.param


def exchange(stream: Stream, one: Any, other: Any, read: Callable[[Any], list[int]]) -> None:
    """One reads, the other takes up its state, and the one takes it up again. The first messages are in one shard."""
    stream.put([{"n": n} for n in range(10)], key=lambda n: "key")
    assert sorted(read(one)) == list(range(10))
    stream.numbers(10, 40)
    assert sorted(read(other)) == list(range(10, 40))
    assert read(other) == []
    stream.numbers(40, 70)
    assert sorted(read(one)) == list(range(40, 70))
    assert read(one) == read(other) == []


def test_state_is_exchanged_without_a_pipeline(emulator: Emulator, one_and_other: Any) -> None:
    stream = emulator.stream(2)
    text = json.typed_dumps({})

    def read(source: Any) -> list[int]:
        nonlocal text
        with Container().injectable_context(StateInjectableContext(state=json.typed_loads(text))) as managed:
            rows = list(source.kinesis_stream(stream.name, initial_at_timestamp=None))
            text = json.typed_dumps(managed.state)
        return [row["n"] for row in rows]

    exchange(stream, *one_and_other, read)


def test_state_is_exchanged_in_a_pipeline(
    emulator: Emulator, one_and_other: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stream = emulator.stream(2)
    table = stream.name.replace("-", "_")
    database = str(tmp_path / "exchange.duckdb")
    seen: set[int] = set()

    def read(source: Any) -> list[int]:
        # Made anew, as each run of a program makes it.
        pipeline = dlt.pipeline("exchange", destination=dlt.destinations.duckdb(database), dataset_name="kinesis")
        pipeline.run(source.kinesis_stream(stream.name, initial_at_timestamp=None)).raise_on_failed_jobs()
        with duckdb.connect(database) as connection:
            rows = [n for (n,) in connection.execute(f"SELECT n FROM kinesis.{table} ORDER BY n").fetchall()]
        assert len(rows) == len(set(rows))
        new = [n for n in rows if n not in seen]
        seen.update(new)
        return new

    exchange(stream, *one_and_other, read)
