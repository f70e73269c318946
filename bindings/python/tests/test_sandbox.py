"""What the component is held to, whichever component it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wasmtime
from model import Model

from kinesis_reader import Error, _component, merge_checkpoints, read

MAD = """
(component
  (core module $sabotaged
    (memory (export "memory") {pages})
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
    (func (export "merge") (param i32 i32 i32 i32) {body}))
  (core instance $sabotaged (instantiate $sabotaged))
  (func $merge (param "left" string) (param "right" string)
    (canon lift (core func $sabotaged "merge")
      (memory (core memory $sabotaged "memory")) (realloc (core func $sabotaged "realloc"))))
  (instance $reading (export "merge-checkpoints" (func $merge)))
  (export "kinesis:reader/reading@0.2.0" (instance $reading)))
"""


@pytest.fixture
def sabotaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Has a component of these pages of memory, whose function does this, take the place of the reader's."""

    def take(pages: int, body: str) -> None:
        path = tmp_path / "sabotaged.wasm"
        path.write_bytes(wasmtime.wat2wasm(MAD.format(pages=pages, body=body)))
        monkeypatch.setenv("KINESIS_READER_COMPONENT", str(path))
        monkeypatch.setattr(_component, "_clock", _component._Clock())
        _component._compiled.cache_clear()

    yield take
    _component._compiled.cache_clear()


def test_a_call_without_an_end_is_ended(sabotaged: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_component, "TICK", 0.01)
    sabotaged(1, "(loop (br 0))")
    with pytest.raises(Error, match=r"did not end a call in time: 0\.3 s"):
        merge_checkpoints("{}", "{}")


def test_memory_has_a_bound(sabotaged: Callable[..., None]) -> None:
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


def test_after_a_call_that_failed_the_next_run_goes_on(
    model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kinesis = model(2)
    for n in range(40):
        kinesis[n % 2].add({"n": n})
    state, got = tmp_path / "orders.json", []
    ticks = _component.CALL_TIME_MAX
    with pytest.raises(Error, match="did not end a call in time"):
        for message in read("orders", endpoint_url=kinesis.url, state=state, page_records=5):
            got.append(message["n"])
            if len(got) == 12:
                # The engine's clock is past what every call from here on may take.
                monkeypatch.setattr(_component, "CALL_TIME_MAX", 0)
    assert len(got) < 40
    monkeypatch.setattr(_component, "CALL_TIME_MAX", ticks)
    got += [message["n"] for message in read("orders", endpoint_url=kinesis.url, state=state)]
    assert set(got) == set(range(40))
