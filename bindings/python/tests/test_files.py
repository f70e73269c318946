"""Files that are not what they should be: nothing is followed, nothing is written over, nothing waits."""

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

import pytest
from model import Model

from kinesis_reader import Error, FileState, OptionError, StateError, _invalid_records, _files, read
from kinesis_reader._invalid_records import InvalidRecordsFile

CHECKPOINT = '{"version":1,"stream":{"name":"orders"},"shards":{"a":{"after":"9"}}}'
LINE = '{"_kinesis":{"seq_no":"1"},"data":"x"}\n'


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def run(code: str, *arguments: object) -> str:
    """A program of its own, whose limits and children are its own too."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("target", ["precious", "nowhere"])
def test_a_link_at_the_name_of_the_lock_is_refused_and_not_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".s.json.lock").symlink_to(tmp_path / target)
    with pytest.raises(StateError, match=r"the lock cannot be taken: .*\.s\.json\.lock: a symbolic link") as refused:
        FileState(tmp_path / "s.json")
    assert refused.value.hint and "remove" in refused.value.hint
    assert sorted(os.listdir(tmp_path)) == [".s.json.lock", "precious"]
    assert (tmp_path / "precious").read_text() == "precious"


def test_what_else_has_the_name_of_the_lock_is_refused_and_left_alone(tmp_path: Path) -> None:
    lock, precious = tmp_path / ".s.json.lock", tmp_path / "precious"
    precious.write_text("precious")

    def refused(words: str) -> None:
        with pytest.raises(StateError, match=f"the lock cannot be taken: .*{words}"):
            FileState(tmp_path / "s.json")

    os.mkfifo(lock)
    refused("it is not a regular file")
    lock.unlink()
    lock.mkdir()
    refused("it is a directory")
    lock.rmdir()
    os.link(precious, lock)
    refused("it is not a lock")
    lock.unlink()
    lock.write_text("notes of mine")
    refused("it is not a lock")
    assert (precious.read_text(), lock.read_text()) == ("precious", "notes of mine")
    # Holders that died leave these.
    for left in ("", "123", "123\n"):
        lock.write_text(left)
        FileState(tmp_path / "s.json").close()


@pytest.mark.parametrize("target", ["precious", "nowhere"])
def test_a_link_at_the_name_of_the_next_version_is_not_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".s.json.new").symlink_to(tmp_path / target)
    state = FileState(tmp_path / "s.json")
    state.save(CHECKPOINT)
    state.close()
    assert sorted(os.listdir(tmp_path)) == ["precious", "s.json"]
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "s.json").is_symlink() and CHECKPOINT in (tmp_path / "s.json").read_text()


def test_a_new_state_is_private_and_an_old_one_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def write(descriptor: int, data: bytes) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        before(descriptor, data)

    before = _files.write
    monkeypatch.setattr(_files, "write", write)
    path, mask = tmp_path / "s.json", os.umask(0)
    try:
        state = FileState(path)
        for kept in (0o600, 0o644, 0o640, 0o400):
            if path.exists():
                path.chmod(kept)
            state.save(CHECKPOINT)
            assert mode(path) == kept
        assert mode(tmp_path / ".s.json.lock") == 0o600
        state.close()
    finally:
        os.umask(mask)
    assert set(seen) == {0o600}


def test_a_state_that_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(StateError, match="it is not a regular file"):
            read("orders", endpoint_url="http://127.0.0.1:9", state=path)
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    for odd in (tmp_path / "one", "zero\0byte"):
        with pytest.raises(StateError, match="the state cannot be there"):
            FileState(odd)
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"what should be its directory is a file|Not a directory"):
        FileState(tmp_path / "file" / "s.json")
    assert not list(tmp_path.glob(".*"))


def test_a_link_to_the_state_is_followed_once(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    link, target = tmp_path / "s.json", tmp_path / "data" / "real.json"
    link.symlink_to("data/real.json")
    (tmp_path / "precious").write_text("precious")
    for _ in range(2):
        state = FileState(link)
        state.save(CHECKPOINT)
        state.close()
        assert link.is_symlink() and target.is_file()
    # The lock is that of the file, whatever it is called.
    state = FileState(target)
    with pytest.raises(StateError, match="another reader"):
        FileState(link)
    target.unlink()
    target.symlink_to(tmp_path / "precious")
    with pytest.raises(StateError, match="symbolic link"):
        state.save(CHECKPOINT)
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_state_that_was_removed_or_replaced_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "s.json"

    def refused(state: FileState) -> None:
        with pytest.raises(StateError, match="the state was removed or replaced during the run") as told:
            state.save("{}")
        assert told.value.hint
        state.close()

    state = FileState(path)
    state.save(CHECKPOINT)
    path.unlink()
    refused(state)
    assert os.listdir(tmp_path) == []

    # None when it was opened, and then one by another hand.
    state = FileState(path)
    assert state.load() is None
    path.write_text("other")
    refused(state)
    assert path.read_text() == "other"

    path.write_text(f'{{"version":1,"checkpoint":{CHECKPOINT}}}')
    state = FileState(path)
    assert state.load() == CHECKPOINT
    path.rename(tmp_path / "old")
    path.write_text("other")
    refused(state)
    assert path.read_text() == "other"


def test_a_lock_that_was_removed_is_taken_again_unless_another_has_it(tmp_path: Path) -> None:
    path, lock = tmp_path / "s.json", tmp_path / ".s.json.lock"
    state = FileState(path)
    state.save("{}")
    lock.unlink()
    state.save(CHECKPOINT)
    with pytest.raises(StateError, match="another reader"):
        FileState(path)
    lock.unlink()
    other = FileState(path)
    with pytest.raises(StateError, match="another reader"):
        state.save("{}")
    other.save(CHECKPOINT)
    other.close()
    # It was let in and has gone: what it saved is not written over.
    with pytest.raises(StateError, match="removed or replaced"):
        state.save("{}")


def test_a_save_that_is_interrupted_leaves_nothing_and_the_next_one_goes_on(
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


def test_a_disk_that_is_full_leaves_the_state_as_it_was(tmp_path: Path) -> None:
    said = run(
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
    assert "cannot write the state" in said and said.count("hint: ") == 1
    assert json.loads((tmp_path / "s.json").read_text())["checkpoint"] == 60 * "x"
    assert os.listdir(tmp_path) == ["s.json"]


def test_a_forked_copy_neither_saves_nor_lets_others_in(tmp_path: Path) -> None:
    said = run(
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
    assert "the state is of another process" in said and "another reader, process" in said
    assert json.loads((tmp_path / "s.json").read_text())["checkpoint"] == {"n": 3}


def test_a_state_that_is_closed_can_be_loaded_again_and_not_saved(tmp_path: Path) -> None:
    state = FileState(tmp_path / "s.json")
    state.save(CHECKPOINT)
    state.close()
    with pytest.raises(StateError, match="the state is closed"):
        state.save("{}")
    assert state.load() == CHECKPOINT
    with pytest.raises(StateError, match="another reader"):
        FileState(tmp_path / "s.json")
    state.close()


def test_files_beside_are_named_as_the_program_names_them() -> None:
    assert _files.beside(Path("/a/s.json"), "lock") == Path("/a/.s.json.lock")
    assert _files.beside(Path("/a") / ("x" * 249), "lock") == Path("/a") / f".{'x' * 249}.lock"
    # 64-bit FNV-1a, of a vector of its authors.
    assert _files._fnv1a(b"foobar") == 0x85944171F73967E8
    long = "ż" * 125
    assert _files.beside(Path("/a") / long, "lock") == Path("/a") / f".{_files._fnv1a(f'.{long}'.encode()):016x}.lock"


def test_a_state_whose_name_is_as_long_as_names_can_be_is_kept(tmp_path: Path) -> None:
    state = FileState(tmp_path / ("s" * 255))
    state.save(CHECKPOINT)
    assert state.load() == CHECKPOINT
    state.close()


@pytest.mark.parametrize("bad", ["s.json", "d/../s.json", "link", "hard", ".s.json.lock", ".s.json.new"])
def test_one_file_cannot_be_state_and_invalid_records(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "s.json"
    (tmp_path / "d").mkdir()
    state = FileState(path)
    state.save(CHECKPOINT)
    state.close()
    (tmp_path / "link").symlink_to("s.json")
    os.link(path, tmp_path / "hard")
    before = path.read_text()
    for given in (path, str(path), (tmp_path / "d").joinpath("..", "s.json")):
        with pytest.raises(OptionError, match="one file for state and invalid_records"):
            read("orders", endpoint_url="http://127.0.0.1:9", state=given, invalid_records=tmp_path / bad)
    opened = FileState(path)
    with pytest.raises(OptionError, match="one file for state and invalid_records"):
        read("orders", endpoint_url="http://127.0.0.1:9", state=opened, invalid_records=tmp_path / bad)
    opened.close()
    assert path.read_text() == before


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_invalid_records_that_are_no_file_are_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.jsonl"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "device":
            path = Path("/dev/null")
    with pytest.raises(Error, match=r"invalid records cannot be written: .*it is (not a regular file|a directory)"):
        read("orders", endpoint_url="http://127.0.0.1:9", invalid_records=path)


def test_invalid_records_are_private_and_follow_no_link_that_is_put_there_later(tmp_path: Path) -> None:
    path, precious = tmp_path / "bad.jsonl", tmp_path / "precious"
    precious.write_text("precious")
    bad = InvalidRecordsFile(path)
    path.symlink_to(precious)
    with pytest.raises(Error, match="symbolic link"):
        bad(LINE)
    path.unlink()
    bad(LINE)
    assert (mode(path), path.read_text(), precious.read_text()) == (0o600, LINE, "precious")
    bad.close()


def test_invalid_records_that_were_removed_or_replaced_are_told(model: Callable[..., Model], tmp_path: Path) -> None:
    kinesis = model()
    path = tmp_path / "bad.jsonl"
    for n in range(4):
        kinesis[0].add(f"no. {n}".encode())
    options = {"endpoint_url": kinesis.url, "pace": "off", "page_records": 1, "invalid_records": path}
    with pytest.raises(Error, match="the file of invalid records was removed or replaced during the run") as told:
        for count, _ in enumerate(read("orders", **options)):  # type: ignore[call-overload]
            if count == 1:
                os.rename(path, tmp_path / "old")
                path.write_text("other")
    assert told.value.hint and path.read_text() == "other"


def test_a_line_that_was_torn_is_cut_off_and_what_is_no_line_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    for before, torn in [("", LINE[:5]), (LINE, LINE[:-1]), (2 * LINE, LINE[:20] + "x" * 200_000), (LINE, "")]:
        path.write_text(before + torn)
        bad = InvalidRecordsFile(path)
        bad(LINE)
        bad(LINE)
        bad.close()
        assert path.read_text() == before + 2 * LINE
    path.write_text(LINE + "notes of mine")
    with pytest.raises(Error, match="the last line of the file is not a invalid record"):
        InvalidRecordsFile(path)(LINE)
    assert path.read_text() == LINE + "notes of mine"


def test_a_disk_that_is_full_leaves_no_half_of_a_bad_record(tmp_path: Path) -> None:
    said = run(
        """
        import resource, sys
        from kinesis_reader import Error
        from kinesis_reader._invalid_records import InvalidRecordsFile
        bad = InvalidRecordsFile(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        for _ in range(3):
            try:
                bad(sys.argv[2])
            except Error as error:
                print(error)
        """,
        tmp_path / "bad.jsonl",
        LINE,
    )
    assert said.count("invalid records cannot be written") == 1 and (tmp_path / "bad.jsonl").read_text() == 2 * LINE


def test_invalid_records_that_another_reader_holds_are_waited_for_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_invalid_records, "LOCK_TIME_MAX", 0.0)
    path = tmp_path / "bad.jsonl"
    one, other = InvalidRecordsFile(path), InvalidRecordsFile(path)
    one(LINE)
    other(LINE)
    with open(path) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Error, match="another reader holds the file of invalid records"):
            one(LINE)
    one(LINE)
    assert path.read_text() == 3 * LINE
    one.close()
    other.close()
