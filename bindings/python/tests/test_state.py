"""A checkpoint in a file: replaced whole, kept from others, and the program's own form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinesis_reader import FileState, StateError

CHECKPOINT = '{"version":1,"stream":{"name":"orders","created":1763900000000},"shards":{"a":{"after":"9"}}}'


def test_what_is_saved_is_loaded_and_is_as_the_program_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state = FileState(path)
    assert state.load() is None
    state.save("{}")
    state.save(CHECKPOINT)
    assert state.load() == CHECKPOINT
    state.close()
    assert path.read_text() == f'{{\n  "version": 1,\n  "checkpoint": {CHECKPOINT}\n}}\n'
    assert os.listdir(tmp_path) == ["state.json"]


def test_one_reader_at_a_time_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    code = f"from kinesis_reader import FileState; s = FileState({str(path)!r}); print('held', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(StateError, match=f"another reader, process {other.pid}, holds the state"):
            FileState(path)
        other.kill()
        other.wait()
    FileState(path).close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged"),
        ("[]", "damaged"),
        ('{"version": 1}', "damaged"),
        ('{"version": 2, "checkpoint": {}}', "of an unknown version"),
        ('{"version": 1, "checkpoint": {}, "output": {"path": "x", "length": 1}}', "kept in step with a file"),
    ],
)
def test_a_file_that_is_something_else_is_refused_and_left_alone(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    state = FileState(path)
    with pytest.raises(StateError, match=words) as raised:
        state.load()
    assert raised.value.hint and path.read_text() == text
    state.close()


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="its directory does not exist"):
        FileState(tmp_path / "none" / "state.json")
    with pytest.raises(StateError, match="it is a directory"):
        FileState(tmp_path)


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    state = FileState(tmp_path / "state.json")
    state.save(CHECKPOINT)
    (tmp_path / ".state.json.new").mkdir()
    with pytest.raises(StateError, match="cannot write the state") as raised:
        state.save("{}")
    assert raised.value.hint and json.loads((tmp_path / "state.json").read_text())["checkpoint"] == json.loads(
        CHECKPOINT
    )
    state.close()
