"""A state in a file: replaced as a whole, locked, and in the form of the program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinesis_reader import FileState, StateError

CHECKPOINT = '{"version":1,"stream":{"name":"orders","created":1763900000000},"shards":{"a":{"after":"9"}}}'


def test_a_saved_checkpoint_is_loaded_again_and_has_the_form_of_the_program(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state = FileState(path)
    assert state.load() is None
    state.save("{}")
    state.save(CHECKPOINT)
    assert state.load() == CHECKPOINT
    state.close()
    assert path.read_text() == f'{{\n  "version": 1,\n  "checkpoint": {CHECKPOINT}\n}}\n'
    assert os.listdir(tmp_path) == ["state.json"]


def test_a_state_has_one_reader_at_a_time_and_is_released_when_its_process_dies(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    code = f"from kinesis_reader import FileState; s = FileState({str(path)!r}); print('held', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(StateError, match=f"state in use by process {other.pid}"):
            FileState(path)
        other.kill()
        other.wait()
    FileState(path).close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged state"),
        ("[]", "damaged state"),
        ('{"version": 1}', "damaged state"),
        ('{"version": 2, "checkpoint": {}}', "unknown state version"),
        ('{"version": 1, "checkpoint": {}, "output": {"path": "x", "length": 1}}', "state belongs to an output file"),
    ],
)
def test_a_file_that_is_not_a_valid_state_is_refused_and_left_unchanged(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    state = FileState(path)
    with pytest.raises(StateError, match=message) as raised:
        state.load()
    assert raised.value.hint and path.read_text() == text
    state.close()


def test_an_invalid_path_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"invalid path for a state: .*: no such directory"):
        FileState(tmp_path / "none" / "state.json")
    with pytest.raises(StateError, match=r"invalid path for a state: .*: a directory"):
        FileState(tmp_path)


def test_a_failed_save_leaves_the_old_state(tmp_path: Path) -> None:
    state = FileState(tmp_path / "state.json")
    state.save(CHECKPOINT)
    (tmp_path / ".state.json.new").mkdir()
    with pytest.raises(StateError, match="cannot write the state") as raised:
        state.save("{}")
    assert raised.value.hint and json.loads((tmp_path / "state.json").read_text())["checkpoint"] == json.loads(
        CHECKPOINT
    )
    state.close()
