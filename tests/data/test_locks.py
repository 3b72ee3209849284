"""Locks: held by one, also where their holder deletes them; refused where there are none."""

from __future__ import annotations

import errno
import shutil
import threading
from pathlib import Path

import pytest

from anomalyhybrid.data import locks
from anomalyhybrid.data.locks import locked, require_locks
from anomalyhybrid.errors import ConfigError, DataError


def test_the_one_that_waited_for_a_deleted_lock_holds_the_new_one(tmp_path: Path, monkeypatch) -> None:
    path, waits, holds, done = tmp_path / "shards" / "lock", threading.Event(), threading.Event(), threading.Event()
    acquire = locks._acquire

    def told(*given) -> bool:  # type: ignore[no-untyped-def]
        if given[-1] and threading.current_thread() is second:
            waits.set()
        return acquire(*given)

    def wait_for_it() -> None:
        with locked(path):
            holds.set()
            done.wait(10)

    second = threading.Thread(target=wait_for_it)
    monkeypatch.setattr(locks, "_acquire", told)
    with locked(path):
        second.start()
        assert waits.wait(10)
        shutil.rmtree(path.parent)
    assert holds.wait(10)
    with locked(path, wait=False) as third:
        assert not third
    done.set()
    second.join()


def test_many_that_delete_the_folder_never_fail_and_never_meet(tmp_path: Path) -> None:
    path, inside, faults = tmp_path / "shards" / "lock", threading.Lock(), []

    def work() -> None:
        try:
            for _ in range(300):
                with locked(path):
                    assert inside.acquire(blocking=False)
                    inside.release()
                    shutil.rmtree(path.parent, ignore_errors=True)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, "none here")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.raises(DataError, match=r"no file locks .*none here.*another file system"), locked(tmp_path / "lock"):
        pass


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"), locked(tmp_path / "file" / "lock"):
        pass
    (tmp_path / "lock").mkdir()
    with pytest.raises(DataError, match="a folder of that name"), locked(tmp_path / "lock"):
        pass


def test_a_system_without_locks(tmp_path: Path, monkeypatch) -> None:
    require_locks()
    monkeypatch.setattr(locks, "fcntl", None)
    with pytest.raises(ConfigError, match="make the set in one process"):
        require_locks()
    with locked(tmp_path / "lock") as held:
        assert held
