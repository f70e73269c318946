"""Files that are not what they should be: no link is followed, nothing is overwritten, and nothing hangs."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model import Model

from kinesis_reader import Error, FileState, OptionError, StateError, _files, _invalid_records, read
from kinesis_reader._invalid_records import InvalidRecordsFile

CHECKPOINT = '{"version":1,"stream":{"name":"orders"},"shards":{"a":{"after":"9"}}}'
LINE = '{"_kinesis":{"seq_no":"1"},"data":"x"}\n'


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def run(code: str, *arguments: object) -> str:
    """Runs a separate program, with its own limits and children."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("target", ["precious", "nowhere"])
def test_a_link_in_place_of_the_lock_is_refused_and_not_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".s.json.lock").symlink_to(tmp_path / target)
    with pytest.raises(StateError, match=r"cannot lock the state: .*\.s\.json\.lock: a symbolic link") as raised:
        FileState(tmp_path / "s.json")
    assert raised.value.hint and "remove" in raised.value.hint
    assert sorted(os.listdir(tmp_path)) == [".s.json.lock", "precious"]
    assert (tmp_path / "precious").read_text() == "precious"


def test_anything_else_in_place_of_the_lock_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    lock, precious = tmp_path / ".s.json.lock", tmp_path / "precious"
    precious.write_text("precious")

    def assert_refused(why: str) -> None:
        with pytest.raises(StateError, match=f"cannot lock the state: .*{why}"):
            FileState(tmp_path / "s.json")

    os.mkfifo(lock)
    assert_refused("not a regular file")
    lock.unlink()
    lock.mkdir()
    assert_refused("a directory")
    lock.rmdir()
    os.link(precious, lock)
    assert_refused("not a lock file")
    lock.unlink()
    lock.write_text("notes of mine")
    assert_refused("not a lock file")
    assert (precious.read_text(), lock.read_text()) == ("precious", "notes of mine")
    # A holder that died leaves one of these.
    for left in ("", "123", "123\n"):
        lock.write_text(left)
        FileState(tmp_path / "s.json").close()


@pytest.mark.parametrize("target", ["precious", "nowhere"])
def test_a_link_in_place_of_the_temporary_file_is_not_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".s.json.new").symlink_to(tmp_path / target)
    state = FileState(tmp_path / "s.json")
    state.save(CHECKPOINT)
    state.close()
    assert sorted(os.listdir(tmp_path)) == ["precious", "s.json"]
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "s.json").is_symlink() and CHECKPOINT in (tmp_path / "s.json").read_text()


def test_a_new_state_is_private_and_an_existing_one_keeps_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []

    def write(descriptor: int, data: bytes) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        original(descriptor, data)

    original = _files.write
    monkeypatch.setattr(_files, "write", write)
    path, mask = tmp_path / "s.json", os.umask(0)
    try:
        state = FileState(path)
        for expected in (0o600, 0o644, 0o640, 0o400):
            if path.exists():
                path.chmod(expected)
            state.save(CHECKPOINT)
            assert mode(path) == expected
        assert mode(tmp_path / ".s.json.lock") == 0o600
        state.close()
    finally:
        os.umask(mask)
    assert set(modes) == {0o600}


def test_a_state_that_is_not_a_regular_file_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(StateError, match="not a regular file"):
            read("orders", endpoint_url="http://127.0.0.1:9", state=path)
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    for path in (tmp_path / "one", Path("zero\0byte")):
        with pytest.raises(StateError, match="invalid path for a state"):
            FileState(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"its parent is not a directory|Not a directory"):
        FileState(tmp_path / "file" / "s.json")
    assert not list(tmp_path.glob(".*"))


def test_a_link_to_the_state_is_resolved_once(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    link, target = tmp_path / "s.json", tmp_path / "data" / "real.json"
    link.symlink_to("data/real.json")
    (tmp_path / "precious").write_text("precious")
    for _ in range(2):
        state = FileState(link)
        state.save(CHECKPOINT)
        state.close()
        assert link.is_symlink() and target.is_file()
    # There is one lock for the file, whatever its name is.
    state = FileState(target)
    with pytest.raises(StateError, match="state in use by process"):
        FileState(link)
    target.unlink()
    target.symlink_to(tmp_path / "precious")
    with pytest.raises(StateError, match="symbolic link"):
        state.save(CHECKPOINT)
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_state_that_was_removed_or_replaced_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "s.json"

    def assert_not_saved(state: FileState) -> None:
        with pytest.raises(StateError, match="state removed or replaced during the run") as raised:
            state.save("{}")
        assert raised.value.hint
        state.close()

    state = FileState(path)
    state.save(CHECKPOINT)
    path.unlink()
    assert_not_saved(state)
    assert os.listdir(tmp_path) == []

    # There was no file at first, and then another program created one.
    state = FileState(path)
    assert state.load() is None
    path.write_text("other")
    assert_not_saved(state)
    assert path.read_text() == "other"

    path.write_text(f'{{"version":1,"checkpoint":{CHECKPOINT}}}')
    state = FileState(path)
    assert state.load() == CHECKPOINT
    path.rename(tmp_path / "old")
    path.write_text("other")
    assert_not_saved(state)
    assert path.read_text() == "other"


def test_a_lock_that_was_removed_is_taken_again_unless_another_reader_has_it(tmp_path: Path) -> None:
    path, lock = tmp_path / "s.json", tmp_path / ".s.json.lock"
    state = FileState(path)
    state.save("{}")
    lock.unlink()
    state.save(CHECKPOINT)
    with pytest.raises(StateError, match="state in use by process"):
        FileState(path)
    lock.unlink()
    other = FileState(path)
    with pytest.raises(StateError, match="state in use by process"):
        state.save("{}")
    other.save(CHECKPOINT)
    other.close()
    # The other reader has saved and gone. What it saved is not overwritten.
    with pytest.raises(StateError, match="removed or replaced"):
        state.save("{}")


def test_an_interrupted_save_leaves_no_files_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        if after:
            replace(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    replace, after = os.replace, False
    path = tmp_path / "s.json"
    state = FileState(path)
    state.save("{}")
    for after in (False, True):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(os, "replace", interrupted)
            state.save(CHECKPOINT)
        assert sorted(os.listdir(tmp_path)) == [".s.json.lock", "s.json"]
        assert state.load() == (CHECKPOINT if after else "{}")
        state.save("{}")
    state.close()


def test_a_full_disk_leaves_the_state_unchanged(tmp_path: Path) -> None:
    output = run(
        """
        import resource, sys
        from kinesis_reader import FileState, StateError
        state = FileState(sys.argv[1])
        state.save('{"n":1}')
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        for size in (200, 60):
            try:
                state.save('"' + size * "x" + '"')
            except StateError as error:
                print(error)
        """,
        tmp_path / "s.json",
    )
    assert "cannot write the state" in output and output.count("hint: ") == 1
    assert json.loads((tmp_path / "s.json").read_text())["checkpoint"] == 60 * "x"
    assert os.listdir(tmp_path) == ["s.json"]


def test_a_forked_process_neither_saves_nor_releases_the_lock(tmp_path: Path) -> None:
    output = run(
        """
        import os, sys
        from kinesis_reader import FileState, StateError
        state = FileState(sys.argv[1])
        state.save('{"n":1}')
        if os.fork() == 0:
            try:
                state.save('{"n":2}')
            except StateError as error:
                print(error, flush=True)
            state.close()
            os._exit(0)
        os.wait()
        try:
            FileState(sys.argv[1])
        except StateError as error:
            print(error)
        state.save('{"n":3}')
        """,
        tmp_path / "s.json",
    )
    assert "the state was opened by another process" in output and "state in use by process" in output
    assert json.loads((tmp_path / "s.json").read_text())["checkpoint"] == {"n": 3}


def test_a_closed_state_can_be_loaded_again_but_not_saved(tmp_path: Path) -> None:
    state = FileState(tmp_path / "s.json")
    state.save(CHECKPOINT)
    state.close()
    with pytest.raises(StateError, match="the state is closed"):
        state.save("{}")
    assert state.load() == CHECKPOINT
    with pytest.raises(StateError, match="state in use by process"):
        FileState(tmp_path / "s.json")
    state.close()


def test_hidden_files_have_the_same_names_as_in_the_program() -> None:
    assert _files.beside(Path("/a/s.json"), "lock") == Path("/a/.s.json.lock")
    assert _files.beside(Path("/a") / ("x" * 249), "lock") == Path("/a") / f".{'x' * 249}.lock"
    # A test vector for 64-bit FNV-1a by its authors.
    assert _files._fnv1a(b"foobar") == 0x85944171F73967E8
    long = "ż" * 125
    assert _files.beside(Path("/a") / long, "lock") == Path("/a") / f".{_files._fnv1a(f'.{long}'.encode()):016x}.lock"


def test_a_state_can_have_the_longest_possible_name(tmp_path: Path) -> None:
    state = FileState(tmp_path / ("s" * 255))
    state.save(CHECKPOINT)
    assert state.load() == CHECKPOINT
    state.close()


@pytest.mark.parametrize("name", ["s.json", "d/../s.json", "link", "hard", ".s.json.lock", ".s.json.new"])
def test_state_and_invalid_records_cannot_be_the_same_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "s.json"
    (tmp_path / "d").mkdir()
    state = FileState(path)
    state.save(CHECKPOINT)
    state.close()
    (tmp_path / "link").symlink_to("s.json")
    os.link(path, tmp_path / "hard")
    before = path.read_text()
    for same in (path, str(path), (tmp_path / "d").joinpath("..", "s.json")):
        with pytest.raises(OptionError, match="state and invalid_records are the same file"):
            read("orders", endpoint_url="http://127.0.0.1:9", state=same, invalid_records=tmp_path / name)
    opened = FileState(path)
    with pytest.raises(OptionError, match="state and invalid_records are the same file"):
        read("orders", endpoint_url="http://127.0.0.1:9", state=opened, invalid_records=tmp_path / name)
    opened.close()
    assert path.read_text() == before


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_a_file_of_invalid_records_that_is_not_regular_is_refused_and_does_not_hang(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "invalid.jsonl"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "device":
            path = Path("/dev/null")
    with pytest.raises(Error, match=r"cannot write invalid records: .*: (not a regular file|a directory)"):
        read("orders", endpoint_url="http://127.0.0.1:9", invalid_records=path)


def test_a_file_of_invalid_records_is_private_and_a_later_link_is_not_followed(tmp_path: Path) -> None:
    path, precious = tmp_path / "invalid.jsonl", tmp_path / "precious"
    precious.write_text("precious")
    append = InvalidRecordsFile(path)
    path.symlink_to(precious)
    with pytest.raises(Error, match="symbolic link"):
        append(LINE)
    path.unlink()
    append(LINE)
    assert (mode(path), path.read_text(), precious.read_text()) == (0o600, LINE, "precious")
    append.close()


def test_a_file_of_invalid_records_that_was_replaced_ends_the_run(model: Callable[..., Model], tmp_path: Path) -> None:
    kinesis = model()
    path = tmp_path / "invalid.jsonl"
    for n in range(4):
        kinesis[0].add(f"no. {n}".encode())
    options: dict[str, Any] = {
        "endpoint_url": kinesis.url,
        "pace": "off",
        "page_records": 1,
        "invalid_records": path,
    }
    with pytest.raises(Error, match="file of invalid records removed or replaced during the run") as raised:
        for count, _ in enumerate(read("orders", **options)):
            if count == 1:
                os.rename(path, tmp_path / "old")
                path.write_text("other")
    assert raised.value.hint and path.read_text() == "other"


def test_an_incomplete_line_is_cut_off_but_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "invalid.jsonl"
    for before, incomplete in [("", LINE[:5]), (LINE, LINE[:-1]), (2 * LINE, LINE[:20] + "x" * 200_000), (LINE, "")]:
        path.write_text(before + incomplete)
        append = InvalidRecordsFile(path)
        append(LINE)
        append(LINE)
        append.close()
        assert path.read_text() == before + 2 * LINE
    path.write_text(LINE + "notes of mine")
    with pytest.raises(Error, match="the last line is not an invalid record"):
        InvalidRecordsFile(path)(LINE)
    assert path.read_text() == LINE + "notes of mine"


def test_a_full_disk_leaves_no_incomplete_line(tmp_path: Path) -> None:
    output = run(
        """
        import resource, sys
        from kinesis_reader import Error
        from kinesis_reader._invalid_records import InvalidRecordsFile
        append = InvalidRecordsFile(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        for _ in range(3):
            try:
                append(sys.argv[2])
            except Error as error:
                print(error)
        """,
        tmp_path / "invalid.jsonl",
        LINE,
    )
    assert output.count("cannot write invalid records") == 1 and (tmp_path / "invalid.jsonl").read_text() == 2 * LINE


def test_a_file_of_invalid_records_that_stays_locked_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_invalid_records, "LOCK_TIMEOUT", 0.0)
    path = tmp_path / "invalid.jsonl"
    one, other = InvalidRecordsFile(path), InvalidRecordsFile(path)
    one(LINE)
    other(LINE)
    with open(path) as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        with pytest.raises(Error, match="file of invalid records in use by another reader"):
            one(LINE)
    one(LINE)
    assert path.read_text() == 3 * LINE
    one.close()
    other.close()
