"""A new user of dlt creates a project, configures it, runs it, inspects it, and runs it again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from conftest import CHECKOUT
from emulator import Emulator

LOCATION = CHECKOUT / "bindings/python/dlt"


def run(directory: Path, *command: str, answer: str = "") -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, input=answer)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dlt(directory: Path, *arguments: str, answer: str = "") -> str:
    """Runs dlt's command line."""
    return run(directory, sys.executable, "-m", "dlt._workspace.cli._dlt", *arguments, answer=answer)


@pytest.fixture
def location(tmp_path: Path) -> Path:
    """Copies our sources into a new repository, so that the test also works outside of one."""
    repository = tmp_path / "location"
    shutil.copytree(LOCATION, repository, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "sources"]):
        run(repository, *git, *command)
    return repository


def test_a_new_project_loads_only_what_is_new_in_each_run(
    location: Path, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    stream = emulator.stream(2, "dlt-init-walk")
    stream.numbers(0, 20)

    output = dlt(project, "init", "kinesis", "duckdb", "--location", str(location), answer="y\n")
    assert "the verified source kinesis (Reads messages from Kinesis queue.)" in output
    assert "Verified source kinesis was added to your project!" in output
    assert sorted(str(p.relative_to(project)) for p in project.rglob("*") if p.is_file()) == [
        ".dlt/.sources",
        ".dlt/config.toml",
        ".dlt/secrets.toml",
        ".gitignore",
        "kinesis/README.md",
        "kinesis/__init__.py",
        "kinesis/helpers.py",
        "kinesis_pipeline.py",
        "requirements.txt",
    ]
    requirements = (project / "requirements.txt").read_text()
    assert "dlt[duckdb]" in requirements and "kinesis-reader[dlt]" in requirements

    config, secrets = project / ".dlt/config.toml", project / ".dlt/secrets.toml"
    assert 'stream_name = "<configure me>"' in config.read_text()
    assert "[sources.kinesis.credentials]" in secrets.read_text()
    config.write_text(config.read_text().replace('"<configure me>"', f'"{stream.name}"'))
    secrets.write_text(
        secrets.read_text().replace('"<configure me>"', '"test"')
        + f'region_name = "us-east-1"\nendpoint_url = "{emulator.url}"\n'
    )

    output = run(project, sys.executable, "kinesis_pipeline.py")
    assert "contains no failed jobs" in output and f"{stream.name.replace('-', '_')}: 20 row(s)" in output
    assert "No messages in kinesis" in run(project, sys.executable, "kinesis_pipeline.py")
    stream.numbers(20, 25)
    assert ": 5 row(s)" in run(project, sys.executable, "kinesis_pipeline.py")
    with duckdb.connect(str(project / "kinesis_pipeline.duckdb")) as database:
        rows = database.execute("SELECT n FROM kinesis.dlt_init_walk ORDER BY n").fetchall()
    assert rows == [(n,) for n in range(25)]

    output = dlt(project, "pipeline", "kinesis_pipeline", "info")
    assert "Has 3 completed load packages" in output and "dlt-init-walk with 1 table(s)" in output
    output = dlt(project, "pipeline", "-v", "kinesis_pipeline", "info")
    assert '"initial_at_timestamp"' in output and '"kinesis_reader"' in output and '"last_value"' in output


def test_the_other_examples_work(
    location: Path, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = emulator.stream(2, "dlt-examples")
    stream.put([{"n": 1}, b"no json", {"n": 2}])
    monkeypatch.setenv("SOURCES__KINESIS__STREAM_NAME", stream.name)
    monkeypatch.setenv("SOURCES__KINESIS__CREDENTIALS__ENDPOINT_URL", emulator.url)
    sources = location / "sources"

    def example(name: str) -> str:
        return run(sources, sys.executable, "-c", f"import kinesis_pipeline; kinesis_pipeline.{name}()")

    example("decode_messages")
    with duckdb.connect(str(sources / "kinesis_decoded.duckdb")) as database:
        rows = database.execute("SELECT n, data FROM decoded.dlt_examples ORDER BY n").fetchall()
    assert rows == [(1, b'{"n": 1}'), (2, b'{"n": 2}'), (None, b"no json")]

    assert example("read_messages").count("_kinesis_msg_id") == 3
    assert example("read_messages") == ""
    stream.put([{"n": 3}])
    assert "'n': 3" in example("read_messages")
    assert os.path.exists(sources / "kinesis.state.json")
