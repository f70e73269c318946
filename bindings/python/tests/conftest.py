from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator import REGION, Emulator
from model import Model
from raw import Raw, Script

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """The emulator ferrokinesis, started once. `KINESIS_EMULATOR_BIN` is its path; `cargo xtask python` builds it."""
    program = os.environ.get("KINESIS_EMULATOR_BIN", str(CHECKOUT / "target/release/emulator"))
    emulator = Emulator(program)
    yield emulator
    emulator.close()


@pytest.fixture
def model() -> Iterator[Callable[..., Model]]:
    """Creates models of Kinesis, which are closed after the test."""
    models: list[Model] = []

    def make(*args: Any, **options: Any) -> Model:
        models.append(Model(*args, **options))
        return models[-1]

    yield make
    for model in models:
        model.close()


@pytest.fixture
def raw() -> Iterator[Callable[[Script], Raw]]:
    """Creates servers that send raw bytes, which are closed after the test."""
    servers: list[Raw] = []

    def make(script: Script) -> Raw:
        servers.append(Raw(script))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Isolates the test from the settings of this machine."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
