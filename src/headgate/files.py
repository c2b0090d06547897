"""Writing files so that a failure leaves the old file as it was."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import HeadgateError, InputError

_HINTS: dict[int | None, str] = {
    errno.ENOSPC: "free some space there or name another place",
    errno.ENOENT: "create the folder first or name another place",
}


def check_path(path: object) -> str:
    """The path of a file as text.

    Raises:
        InputError: it is no path.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise InputError(
            f"expected the path of a file, got an object of type {type(path).__name__}; pass a "
            "text such as 'model.safetensors'"
        )
    return os.fsdecode(path)


def check_target(path: object) -> Path:
    """The path of a file to be written, looked at before the work is done.

    Raises:
        InputError: it is no path, a folder, or in a folder that is not there.
    """
    target = Path(check_path(path)).expanduser()
    try:
        is_folder, has_folder = target.is_dir(), target.parent.is_dir()
    except OSError as error:  # a name that is too long
        raise InputError(
            f"no file can be named {str(target)[:60]!r}...: {error.strerror}; choose another name"
        ) from None
    if is_folder:
        raise InputError(f"{target} is a folder; name a file in it")
    if not has_folder:
        raise InputError(f"there is no folder {target.parent} for {target.name}; create it first")
    return target


def write_beside_and_rename(
    path: str | os.PathLike[str], content: bytes | Callable[[BinaryIO], object]
) -> None:
    """Write a file whole or not at all.

    The bytes go to a temporary file in the same directory, reach the disk (fsync), and take the
    name ``path`` in one step. A symbolic link is followed, an existing file's permissions are
    kept. Whatever fails, the temporary file is removed and an existing ``path`` is untouched.

    Args:
        path: the file to write; what exists there must be a regular file.
        content: the bytes, or a function that writes them to the binary file it is given
            (an exception of its own passes through once the temporary file is gone).

    Raises:
        InputError: ``path`` is no path.
        HeadgateError: the system refused (full disk, no such folder, no permission, ...).
    """
    path = check_path(path)
    try:
        target = os.path.realpath(path)
        mode = _mode_of_existing(target)
        _write(target, mode, content)
        _sync_directory(os.path.dirname(target))
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the path. One that the callback raised is not about the path.
        if isinstance(error, ValueError) and "\0" not in path:
            raise
        reason = getattr(error, "strerror", None) or str(error)
        hint = _HINTS.get(getattr(error, "errno", None), "name another place")
        raise HeadgateError(
            f"cannot write {path!r}: {reason}; nothing was changed; {hint}"
        ) from error


@contextlib.contextmanager
def all_or_none(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """A folder to write ``names`` to; they move to ``folder`` once all of them are whole.

    Raises:
        HeadgateError: the system refused; the old files are unchanged.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".headgate-", dir=folder) as staging:
            yield Path(staging)
            for name in names:
                os.replace(Path(staging) / name, folder / name)
    except OSError as error:
        raise HeadgateError(
            f"cannot write to {folder}: {error.strerror or error}; name another --out"
        ) from None


def _mode_of_existing(target: str) -> int | None:
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(None, "it is a directory, name a file in it", target)
    if not stat.S_ISREG(status.st_mode):  # renaming over /dev/null would break the machine
        raise OSError(None, "it is not a regular file", target)
    return stat.S_IMODE(status.st_mode)


def _write(target: str, mode: int | None, content: bytes | Callable[[BinaryIO], object]) -> None:
    # Not tempfile: its files are 0600 whatever the umask says.
    temporary = os.path.join(os.path.dirname(target), f".headgate-{secrets.token_hex(8)}.tmp")
    file = open(temporary, "xb")  # noqa: SIM115 - closed before the rename, as Windows needs
    try:
        with file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:  # Ctrl-C too
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _sync_directory(directory: str) -> None:
    """Make the rename durable where the system lets a directory be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
