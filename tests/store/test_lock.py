"""The lock beside the file: one scheduler per database, freed by the kernel, not harmed by a look."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from ppacer.errors import StoreError, StoreLockedError
from ppacer.store import FileLock, owner_of
from store.shelf import SRC, WAIT, python

HOLDER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from ppacer.store import FileLock
lock = FileLock(Path(sys.argv[1])).acquire(url="http://127.0.0.1:9321")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_scheduler_is_refused_at_once_with_a_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppacer.store.lock.PAUSE_SECONDS", WAIT)  # there is no need for a pause
    with python(HOLDER, str(path), str(SRC)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        begin = time.monotonic()
        with pytest.raises(StoreLockedError) as error:
            FileLock(path).acquire()
        assert time.monotonic() - begin < WAIT
        assert str(error.value) == (
            f"another scheduler (process {holder.pid}, http://127.0.0.1:9321) has {path}; "
            "stop it, or choose another file with --db"
        )
        assert owner_of(path) == {"pid": holder.pid, "url": "http://127.0.0.1:9321"}
        holder.kill()
        holder.wait(WAIT)
        assert owner_of(path) is None
        lock = FileLock(path).acquire()
        lock.release()


def test_two_in_one_process_are_two(path: Path) -> None:
    lock = FileLock(path).acquire()
    with pytest.raises(StoreLockedError, match=f"process {os.getpid()}"):
        FileLock(path).acquire()
    lock.release()
    FileLock(path).acquire().release()


def test_nobody_owns_what_nobody_has_locked(path: Path) -> None:
    assert owner_of(path) is None
    assert not path.with_name(path.name + ".lock").exists()
    lock = FileLock(path).acquire()
    assert owner_of(path) == {"pid": os.getpid()}
    lock.release()
    assert owner_of(path) is None


def test_what_the_owner_says_can_change_and_shrink(path: Path) -> None:
    lock = FileLock(path).acquire(url="http://127.0.0.1:65535/" + "x" * 100)
    lock.describe(url="http://[::1]:1")
    assert owner_of(path) == {"pid": os.getpid(), "url": "http://[::1]:1"}
    lock.describe()
    assert owner_of(path) == {"pid": os.getpid()}
    lock.release()


def test_who_looks_never_reads_a_mixture(path: Path) -> None:
    lock = FileLock(path).acquire(url="first")
    stop = threading.Event()
    seen: list[object] = []

    def look() -> None:
        while not stop.is_set():
            seen.append((owner_of(path) or {}).get("url"))

    looker = threading.Thread(target=look)
    looker.start()
    for n in range(2000):
        lock.describe(url="x" * (n % 300))
    stop.set()
    looker.join()
    lock.release()
    assert None not in seen


def test_looking_does_not_make_a_start_fail(path: Path) -> None:
    """`owner_of` shares the lock for an instant; a scheduler that starts right then gets it all the same."""
    FileLock(path).acquire().release()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            owner_of(path)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(300):
            FileLock(path).acquire().release()
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


def test_of_many_that_start_at_once_one_gets_it(path: Path) -> None:
    winners: list[FileLock] = []
    losers: list[StoreLockedError] = []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        try:
            winners.append(FileLock(path).acquire())
        except StoreLockedError as error:
            losers.append(error)

    starters = [threading.Thread(target=start) for _ in range(8)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert (len(winners), len(losers)) == (1, 7)
    winners[0].release()


@pytest.mark.parametrize("content", ["", "{", "[1]", '"pid"', "\x00\x00"])
def test_a_file_that_says_nonsense_is_still_a_lock(content: str, path: Path) -> None:
    lock = FileLock(path).acquire()
    lock.path.write_text(content)
    with pytest.raises(StoreLockedError, match=r"^another scheduler has "):
        FileLock(path).acquire()
    assert owner_of(path) == {}
    lock.release()


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the folder .*/nowhere does not exist"):
        FileLock(tmp_path / "nowhere" / "scheduler.db").acquire()


def test_a_lock_that_cannot_be_made_is_a_sentence(path: Path) -> None:
    path.with_name(path.name + ".lock").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        FileLock(path).acquire()


def test_releasing_twice_is_releasing_once(path: Path) -> None:
    lock = FileLock(path).acquire()
    lock.release()
    other = FileLock(path).acquire()
    lock.release()
    assert owner_of(path) is not None
    other.release()


def test_a_started_program_does_not_inherit_the_lock(path: Path) -> None:
    lock = FileLock(path).acquire()
    with python("import sys; print('up', flush=True); sys.stdin.read()", close_fds=False) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        lock.release()
        assert owner_of(path) is None
        FileLock(path).acquire().release()
        child.kill()


def test_the_file_is_plain_json(path: Path) -> None:
    lock = FileLock(path).acquire(url="u")
    assert json.loads(lock.path.read_text()) == {"pid": os.getpid(), "url": "u"}
    lock.release()


def test_links_to_one_file_have_one_lock(path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    lock = FileLock(link).acquire()
    assert owner_of(path) == owner_of(link) == {"pid": os.getpid()}
    with pytest.raises(StoreLockedError):
        FileLock(path).acquire()
    lock.release()
