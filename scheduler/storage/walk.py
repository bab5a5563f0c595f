"""A folder's files in a total order that a listing can be resumed in.

A folder sorts as its name with a slash at the end. So the walk, which holds one page of one folder
at each depth, comes out in the byte order of the whole relative names: the order in which S3 lists
the same tree. Left out are names that begin with a dot (our own drafts among them), links to
folders (they can form circles, and would double what they lead to) and links that leave the root.
"""

import heapq
import os
from collections.abc import Iterator

from scheduler.errors import ObjectMissing
from scheduler.storage.address import file_address
from scheduler.storage.file_errors import file_errors

NAMES_AT_ONCE = 50_000
"""Names of one folder that are held in memory; a larger folder is scanned once for each as many."""


def walk(folder: str, after: bytes, root: str) -> Iterator[bytes]:
    """Name the files below `folder`, relative to it, in the order of the bytes.

    Args:
        folder: Where to begin, with a slash at its end.
        after: Leave out the names up to this one.
        root: The real path of `folder`, which no link may leave.
    """
    # A stack of our own: folders may be nested deeper than Python calls may.
    stack = [_entries(folder, b"", after, root)]
    while stack:
        path = next(stack[-1], None)
        if path is None:
            stack.pop()
        elif path.endswith(b"/"):
            stack.append(_entries(folder + os.fsdecode(path), path, after, root))
        else:
            yield path


def _entries(folder: str, prefix: bytes, after: bytes, root: str) -> Iterator[bytes]:
    """Name the files and folders of one folder that are to be seen; folders end in a slash.

    Args:
        folder: Which, with a slash at its end.
        prefix: Its name relative to where the walk began; empty there.
        after: As for `walk`.
        root: As for `walk`.
    """
    mark = b""
    if after.startswith(prefix):
        mark = after[len(prefix) :].partition(b"/")[0]
    while page := _page(folder, prefix, mark, root):
        for name in page:
            path = prefix + name
            if path > after or (name.endswith(b"/") and after.startswith(path)):
                yield path
        if len(page) < NAMES_AT_ONCE:
            return
        mark = page[-1]


def _page(folder: str, prefix: bytes, mark: bytes, root: str) -> list[bytes]:
    """Return the next entries of a folder behind `mark`; folders end in a slash."""
    place = file_address(folder)
    try:
        with file_errors(place), os.scandir(folder) as entries:
            names = (name for entry in entries if (name := _sort_name(entry, root)) is not None)
            return heapq.nsmallest(NAMES_AT_ONCE, (name for name in names if name > mark))
    except ObjectMissing:
        if prefix:
            return []  # The folder was deleted since its parent was read.
        raise


def _sort_name(entry: os.DirEntry[str], root: str) -> bytes | None:
    """Return what an entry is sorted by; None for what is no part of the folder's content."""
    if entry.name.startswith("."):
        return None
    name = os.fsencode(entry.name)
    if entry.is_dir(follow_symlinks=False):
        return name + b"/"
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if os.path.commonpath([root, target]) != root:
            return None
    return name if entry.is_file() else None
