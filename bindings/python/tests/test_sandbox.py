"""The limits on memory and time that every component must obey."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wasmtime
from model import Model

from kinesis_reader import Error, _component, merge_checkpoints, read

SABOTAGED = """
(component
  (core module $sabotaged
    (memory (export "memory") {pages})
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
    (func (export "merge") (param i32 i32 i32 i32) {body}))
  (core instance $sabotaged (instantiate $sabotaged))
  (alias core export $sabotaged "memory" (core memory $memory))
  (alias core export $sabotaged "realloc" (core func $realloc))
  (alias core export $sabotaged "merge" (core func $core-merge))
  (func $merge (param "left" string) (param "right" string)
    (canon lift (core func $core-merge) (memory $memory) (realloc $realloc)))
  (instance $reading (export "merge-checkpoints" (func $merge)))
  (export "kinesis:reader/reading@0.2.0" (instance $reading)))
"""


@pytest.fixture
def sabotaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Replaces the component with one that has this many pages of memory and this body in its function."""

    def replace(pages: int, body: str) -> None:
        path = tmp_path / "sabotaged.wasm"
        path.write_bytes(wasmtime.wat2wasm(SABOTAGED.format(pages=pages, body=body)))
        monkeypatch.setenv("KINESIS_READER_COMPONENT", str(path))
        monkeypatch.setattr(_component, "_ticker", _component._Ticker())
        _component._compiled.cache_clear()

    yield replace
    _component._compiled.cache_clear()


def test_a_call_that_does_not_end_is_interrupted(
    sabotaged: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_component, "TICK", 0.01)
    sabotaged(1, "(loop (br 0))")
    with pytest.raises(Error, match=r"a call of the component took too long: 0\.3 s"):
        merge_checkpoints("{}", "{}")


def test_memory_is_limited(sabotaged: Callable[..., None]) -> None:
    page = 64 << 10
    sabotaged(_component.MEMORY_MAX // page, "")
    merge_checkpoints("{}", "{}")
    sabotaged(_component.MEMORY_MAX // page + 1, "")
    with pytest.raises(Error, match="memory"):
        merge_checkpoints("{}", "{}")


def test_a_trap_is_an_error(sabotaged: Callable[..., None]) -> None:
    sabotaged(1, "unreachable")
    with pytest.raises(Error, match="the component failed"):
        merge_checkpoints("{}", "{}")


def test_the_run_after_a_failed_call_continues_from_the_checkpoint(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kinesis = model(2)
    for n in range(40):
        kinesis[n % 2].add({"n": n})
    state, numbers = tmp_path / "orders.json", []
    call_time_max = _component.CALL_TIME_MAX
    with pytest.raises(Error, match="a call of the component took too long"):
        for message in read("orders", endpoint_url=kinesis.url, state=state, page_records=5):
            numbers.append(message["n"])
            if len(numbers) == 12:
                # Every call from here on exceeds the limit.
                monkeypatch.setattr(_component, "CALL_TIME_MAX", 0)
    assert len(numbers) < 40
    monkeypatch.setattr(_component, "CALL_TIME_MAX", call_time_max)
    numbers += [message["n"] for message in read("orders", endpoint_url=kinesis.url, state=state)]
    assert set(numbers) == set(range(40))
