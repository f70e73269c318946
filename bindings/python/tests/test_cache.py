"""The cache of compiled code: code is only run if no other user could have written it, and if it is intact."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinesis_reader import _cache, _component

KEY, CODE = _cache.key(b"component", "1.0"), b"code" * 1000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _component._compiled.cache_clear()
    yield tmp_path / "kinesis-reader" / "compiled-python"
    _component._compiled.cache_clear()


def test_cached_code_is_private_and_found_only_under_its_key(folder: Path) -> None:
    mask = os.umask(0)
    try:
        assert _cache.get(KEY) is None
        _cache.put(KEY, CODE)
    finally:
        os.umask(mask)
    assert _cache.get(KEY) == CODE and _cache.get(_cache.key(b"component", "1.1")) is None
    [file] = folder.iterdir()
    assert [path.stat().st_mode & 0o777 for path in (folder.parent, folder, file)] == [0o700, 0o700, 0o600]


def test_code_that_others_could_have_written_or_that_is_damaged_is_not_used(folder: Path) -> None:
    _cache.put(KEY, CODE)
    [file] = folder.iterdir()
    intact = file.read_bytes()
    for path in (folder.parent, folder, file):
        for mode in (0o722, 0o702):
            before = path.stat().st_mode & 0o777
            path.chmod(mode)
            assert _cache.get(KEY) is None
            path.chmod(before)
    assert _cache.get(KEY) == CODE
    for index in (0, 31, 32, len(intact) - 1):
        file.write_bytes(bytes(byte ^ (n == index) for n, byte in enumerate(intact)))
        assert _cache.get(KEY) is None
    for length in (0, 31, 32, len(intact) - 1):
        file.write_bytes(intact[:length])
        assert _cache.get(KEY) is None
    os.link(file, folder / "other")
    file.write_bytes(intact)
    assert _cache.get(KEY) is None
    file.unlink()
    file.symlink_to("other")
    assert _cache.get(KEY) is None
    file.unlink()
    os.mkfifo(file)
    assert _cache.get(KEY) is None
    _cache.put(KEY, CODE)
    assert _cache.get(KEY) == CODE


def test_without_a_usable_cache_the_component_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    (tmp_path / "kinesis-reader").write_text("")
    for cache in (str(tmp_path), "relative", "/dev/null"):
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
        _cache.put(KEY, CODE)
        assert _cache.get(KEY) is None
        _component._compiled.cache_clear()
        assert _component.Component().defaults("orders").wire == "json"
    assert not Path("relative").exists()


def test_the_cache_keeps_a_limited_number_of_files(folder: Path) -> None:
    for n in range(2 * _cache.FILES_MAX):
        _cache.put(_cache.key(b"component", str(n)), CODE)
    assert len(list(folder.iterdir())) == _cache.FILES_MAX
    assert _cache.get(_cache.key(b"component", str(2 * _cache.FILES_MAX - 1))) == CODE


def test_the_component_is_compiled_once_and_again_if_its_code_is_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[int] = []

    class Counting(_component.wc.Component):  # type: ignore[misc]
        def __init__(self, engine: object, data: bytes) -> None:
            compiled.append(len(data))
            super().__init__(engine, data)

    monkeypatch.setattr(_component.wc, "Component", Counting)
    for change in (None, None, lambda data: data[:-9], lambda data: b"", None):
        if change is not None:
            [file] = folder.iterdir()
            file.write_bytes(change(file.read_bytes()))
        _component._compiled.cache_clear()
        assert _component.Component().defaults("orders").wire == "json"
    assert len(compiled) == 3
