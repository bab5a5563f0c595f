"""The one place where operating system errors become ours."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from models.errors import EnlargerError
from scheduler.errors import AccessDenied, AddressInvalid, ObjectMissing, StorageUnavailable
from scheduler.storage.address import Address

MISSING = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENXIO}
DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
IMPOSSIBLE = {errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP}


@contextmanager
def file_errors(place: Address) -> Iterator[None]:
    """Turn an `OSError` into the error of ours that says what to do about it."""
    try:
        yield
    except OSError as exc:
        raise _mapped(exc, place) from exc


def _mapped(exc: OSError, place: Address) -> EnlargerError:
    why = exc.strerror or str(exc)
    if exc.errno in MISSING:
        return ObjectMissing(f"{place}: no file is there ({why}); check the address")
    if exc.errno in DENIED:
        reason = f"{place}: {why}; let the user that runs Enlarger read or write there"
        return AccessDenied(reason)
    if exc.errno in IMPOSSIBLE:
        return AddressInvalid(f"{place}: this can't be a file's name here ({why}); shorten it")
    return StorageUnavailable(f"{place}: {why}; free space or repair the file system")
