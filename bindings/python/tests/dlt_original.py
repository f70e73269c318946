"""Compares our source with dlt's own, which is not in this repository. `cargo xtask python --dlt-source DIR` runs this.

pytest does not collect a file with this name, so it only runs when it is given as an argument. `KINESIS_DLT_ORIGINAL`
is the directory with the package `sources.kinesis`, and `KINESIS_DLT_ORIGINAL_TESTS` is its test file.
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
ORIGINAL_TESTS = Path(os.environ["KINESIS_DLT_ORIGINAL_TESTS"]).resolve()
ORIGINAL_STREAM = "dlt_ci_kinesis_source"

# The name of its module is part of the path of its settings and its state.
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
"""Stands in for a module that its tests share with those of other sources."""

RUN_SKIPPED_TESTS = """
def pytest_collection_modifyitems(items):
    # A test is skipped because it cannot run in parallel with others; here, they run one by one.
    for item in items:
        item.own_markers = [mark for mark in item.own_markers if mark.name != "skip"]
"""

SECRETS = f"""
[sources.kinesis.credentials]
aws_access_key_id = "test"
aws_secret_access_key = "test"
region_name = "{REGION}"
"""


def run_pytest(directory: Path, environment: dict[str, str], *arguments: str) -> tuple[Counter[str], str]:
    """Runs pytest in a separate process. Returns the number of tests by result, and the output."""
    report = directory / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", str(report), *arguments]
    done = subprocess.run(command, cwd=directory, env=os.environ | environment, capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert report.is_file(), output
    cases = list(ElementTree.parse(report).iter("testcase"))
    return Counter(case[0].tag if len(case) else "passed" for case in cases), output


def test_each_test_of_a_fault_fails_with_the_original(tmp_path: Path) -> None:
    faults = str(HERE / "test_dlt_faults.py")
    configuration = ("--rootdir", str(HERE), "-c", str(CHECKOUT / "bindings/python/pyproject.toml"))
    results, output = run_pytest(tmp_path, {"KINESIS_DLT_SOURCE": str(ORIGINAL)}, *configuration, "-rp", faults)
    assert results["failure"] > 0 and set(results) == {"failure"}, output


def test_the_tests_of_the_original_pass_with_ours(emulator: Emulator, tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "bindings/python/dlt/sources", tmp_path / "sources")
    tests = tmp_path / "tests/kinesis"
    tests.mkdir(parents=True)
    shutil.copy(ORIGINAL_TESTS, tests / "test_kinesis.py")
    (tmp_path / "tests/utils.py").write_text(UTILS)
    (tests / "conftest.py").write_text(RUN_SKIPPED_TESTS)
    emulator.stream(2, ORIGINAL_STREAM)
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt/secrets.toml").write_text(SECRETS)
    settings = {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]),
        "AWS_ENDPOINT_URL": emulator.url,
    }
    results, output = run_pytest(tmp_path, settings, "tests/kinesis/test_kinesis.py")
    assert results["passed"] > 0 and set(results) == {"passed"}, output


@pytest.fixture(params=[(original, ours), (ours, original)], ids=["original-ours", "ours-original"])
def sources(request: pytest.FixtureRequest, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    # The original has no option for the endpoint, but botocore reads it from here.
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.url)
    Container()[PipelineContext].deactivate()
    return request.param


def exchange(stream: Stream, one: Any, other: Any, read: Callable[[Any], list[int]]) -> None:
    """Each source continues from the state of the other. The first messages are all in one shard."""
    stream.put([{"n": n} for n in range(10)], key=lambda n: "key")
    assert sorted(read(one)) == list(range(10))
    stream.numbers(10, 40)
    assert sorted(read(other)) == list(range(10, 40))
    assert read(other) == []
    stream.numbers(40, 70)
    assert sorted(read(one)) == list(range(40, 70))
    assert read(one) == read(other) == []


def test_the_state_is_exchanged_without_a_pipeline(emulator: Emulator, sources: Any) -> None:
    stream = emulator.stream(2)
    text = json.typed_dumps({})

    def read(source: Any) -> list[int]:
        nonlocal text
        with Container().injectable_context(StateInjectableContext(state=json.typed_loads(text))) as managed:
            rows = list(source.kinesis_stream(stream.name, initial_at_timestamp=None))
            text = json.typed_dumps(managed.state)
        return [row["n"] for row in rows]

    exchange(stream, *sources, read)


def test_the_state_is_exchanged_in_a_pipeline(
    emulator: Emulator, sources: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stream = emulator.stream(2)
    table = stream.name.replace("-", "_")
    database = str(tmp_path / "exchange.duckdb")
    seen: set[int] = set()

    def read(source: Any) -> list[int]:
        # Created again, as in each run of a program.
        pipeline = dlt.pipeline("exchange", destination=dlt.destinations.duckdb(database), dataset_name="kinesis")
        pipeline.run(source.kinesis_stream(stream.name, initial_at_timestamp=None)).raise_on_failed_jobs()
        with duckdb.connect(database) as connection:
            rows = [n for (n,) in connection.execute(f"SELECT n FROM kinesis.{table} ORDER BY n").fetchall()]
        assert len(rows) == len(set(rows))
        new = [n for n in rows if n not in seen]
        seen.update(new)
        return new

    exchange(stream, *sources, read)
