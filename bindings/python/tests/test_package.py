"""What is published: the archives, the wheel in a new environment, and its types."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest
from conftest import CHECKOUT
from emulator import Emulator

PROJECT = CHECKOUT / "bindings/python"


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the source archive and the wheel."""
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, PROJECT)
    return directory


def test_the_archives_contain_component_license_and_types_but_no_tests(dist: Path) -> None:
    [wheel] = dist.glob("*.whl")
    assert wheel.name == f"kinesis_reader-{version()}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert "kinesis_reader/kinesis_reader.wasm" in names and "kinesis_reader/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any("test" in name for name in names)
    [source] = dist.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        assert any(name.endswith("kinesis_reader/kinesis_reader.wasm") for name in archive.getnames())


def test_the_installed_wheel_reads_across_a_reshard_in_two_runs(dist: Path, emulator: Emulator, tmp_path: Path) -> None:
    """It reads 10,000 messages, each once."""
    stream = emulator.stream(2)
    stream.numbers(0, 5000)
    stream.split(stream.open_shards()[0])
    stream.numbers(5000, 10_000)

    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    [wheel] = dist.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            f"""
            from kinesis_reader import read
            for index, message in enumerate(read({stream.name!r}, endpoint_url={emulator.url!r}, state="state.json")):
                print(message["n"])
                if index == 4999:
                    break
            """
        )
    )
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "HOME": str(tmp_path),
    }
    first = run(python, "-I", program, cwd=tmp_path, env=environment).split()
    program.write_text(program.read_text().replace("4999", "99999"))
    second = run(python, "-I", program, cwd=tmp_path, env=environment).split()
    assert len(first) == 5000
    # The message in hand when the loop was left was not acknowledged, so it is repeated.
    assert sorted(map(int, first[:-1] + second)) == list(range(10_000))


def test_the_types_are_correct() -> None:
    mypy = [sys.executable, "-m", "mypy", "--config-file", PROJECT / "pyproject.toml"]
    checked = [PROJECT / "src/kinesis_reader", PROJECT / "tests/usage.py"]
    run(*mypy, *checked)
    run(*mypy, "--python-version", "3.10", *checked)


def test_the_code_is_formatted_and_free_of_lint() -> None:
    run(sys.executable, "-m", "ruff", "check", PROJECT)
    run(sys.executable, "-m", "ruff", "format", "--check", PROJECT)


def test_the_version_is_the_same_as_in_cargo_toml() -> None:
    assert version(CHECKOUT / "Cargo.toml") == version()


def version(manifest: Path = PROJECT / "pyproject.toml") -> str:
    found = re.search(r'^version = "(.+)"$', manifest.read_text(), re.MULTILINE)
    assert found
    return found[1]
