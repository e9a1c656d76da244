"""A run folder belongs to one training at a time.

The lock is one of the operating system on the file ``.lock`` in the folder: it ends with its process, however
that ends, and forked workers do not inherit it.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from probgen.training import checkpoint as checkpoints
from probgen.training.processes import Processes
from probgen.training.settings import run_folder

logger = logging.getLogger("probgen")

FILE = ".lock"
_held: dict[tuple[int, int], int] = {}  # files that this process has locked, and by which process id
_guard = threading.Lock()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder, made if need be, until the training in it ends.

    Raises:
        ValueError: where another training, of this process or of another, holds it, or no checkpoint can be
            written in it.
    """
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints.try_out(folder)
    with (
        _guard,
        writable(folder),
    ):  # closing a file would give up the lock of this process on it: look before opening
        key = _identity(folder / FILE)
        if key is not None and _held.get(key) == os.getpid():
            raise ValueError(_sentence(folder, "this process"))
        handle = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o666)
        if not _lock(handle, folder):
            os.close(handle)
            raise ValueError(_sentence(folder, _owner(folder)))
        key = _identity(folder / FILE)
        assert key is not None
        _held[key] = os.getpid()
    try:
        with writable(folder):
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        with _guard:
            del _held[key]
            os.close(handle)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Say in a sentence what the operating system says of a folder that cannot be written.

    Raises:
        ValueError: where that is so.
    """
    try:
        yield
    except OSError as error:
        way_out = "make room, or choose" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose"
        raise ValueError(
            f"the run folder {folder} should be one that can be written, but is not "
            f"({error.strerror or error}): {way_out} another folder"
        ) from error


@contextmanager
def belonging(folder: Path | None, processes: Processes, *, resume: bool) -> Iterator[None]:
    """Hold a run folder, if there is one, for all processes of a training: the first one does.

    Raises:
        ValueError: in all of them, where another training holds it, or where it holds a run by now.
    """
    refused: Exception | None = None
    with ExitStack() as stack:
        if folder is not None and processes.rank == 0:
            try:
                stack.enter_context(locked(folder))
                run_folder(folder, resume=resume)
            except (ValueError, OSError) as error:
                refused = error
        (refused, *_) = processes.gather(refused)
        if refused is not None:
            raise refused
        yield


def _sentence(folder: Path, owner: str) -> str:
    return (
        f"the run folder {folder} is in use by another training ({owner}): wait until it has ended, or "
        "choose another folder"
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _owner(folder: Path) -> str:
    try:
        return (folder / FILE).read_text() or "another process"
    except OSError:
        return "another process"


def _lock(handle: int, folder: Path) -> bool:
    """Lock an open file for this process and say whether that could be done."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, 4096, os.SEEK_SET)  # a locked byte cannot be read there
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        logger.warning(
            "the run folder %s cannot be locked (%s): two trainings in it go by unseen", folder, error
        )
    return True
