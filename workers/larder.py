"""Keeps the files of weights that requests name: each is fetched once, and the oldest ones go.

A file lies under the digest of its bytes, whoever named it by whatever address. What a job uses is
locked for as long as it does, by the operating system: a lock dies with its process.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from models.errors import ArgumentInvalid
from scheduler.settings import Settings
from scheduler.storage import Storage
from scheduler.storage.objects import Stream

HEAD_BYTES = 9
"""By which a file's kind is known."""
MOST_HEADER_BYTES = 100_000_000
"""Of a safetensors file (the format's own limit)."""
ZIP = b"PK\x03\x04"
"""How a file begins that torch saved since version 1.6."""
PAUSE_S = 0.2
"""Between two looks at a lock that somebody else holds."""
HUB = "huggingface.co"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A file that a request names.

    Attributes:
        field: The request's.
        address: What it names.
        max_bytes: The most that the file may have.
    """

    field: str
    address: str
    max_bytes: int


class Larder:
    """The files of one folder, which several processes may share."""

    def __init__(self, storage: Storage, settings: Settings) -> None:
        """Take a storage to read from, and the settings for the folder and its budget."""
        self._storage = storage
        self._settings = settings

    @property
    def _folder(self) -> Path:
        return self._settings.brought_weights.expanduser()

    def take(self, wish: Wish, held: ExitStack, check_cancelled: Callable[[], None]) -> Path:
        """Return where a file is, named by its digest and the suffix of its kind.

        Args:
            wish: Which file.
            held: Keeps it from being removed until it is closed.
            check_cancelled: Called while somebody else fetches it, and with every block; may raise.

        Raises:
            ArgumentInvalid: It holds no weights of a kind that is read; names the field.
            RequestError: It is missing, too large, or not to be had from there.
            StorageUnavailable: Its store does not answer.
        """
        for part in ("files", "names", "locks"):
            (self._folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        address = _direct(wish.address)
        lock = self._folder / "locks" / _digest(address)
        with lock.open("wb") as fetching:
            _wait_for(fetching, check_cancelled)
            path = self._kept_or_fetched(wish, address, held, check_cancelled)
        self._make_room()
        return path

    def _kept_or_fetched(
        self, wish: Wish, address: str, held: ExitStack, check_cancelled: Callable[[], None]
    ) -> Path:
        timeout_s = self._settings.brought_weights_timeout_s
        with self._storage.stream(address, max_bytes=wish.max_bytes, timeout_s=timeout_s) as stream:
            name = self._folder / "names" / _digest(f"{address}\0{stream.version}")
            if stream.version and name.exists():
                kept = self._folder / "files" / name.read_text()
                if _hold(kept, held):
                    return kept
            path = self._fetched(wish, stream, held, check_cancelled)
        if stream.version:
            name.write_text(path.name)
        return path

    def _fetched(
        self, wish: Wish, stream: Stream, held: ExitStack, check_cancelled: Callable[[], None]
    ) -> Path:
        partial = self._folder / "files" / f"{_digest(wish.address)}.part"
        digest, suffix = hashlib.sha256(), None
        with partial.open("w+b") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # unfinished ones of dead processes have none
            for block in _in_pieces(stream.blocks):
                check_cancelled()
                suffix = suffix or _kind(block, wish)
                digest.update(block)
                file.write(block)
            if suffix is None:
                raise ArgumentInvalid(f"{wish.field}: the file is empty", field=wish.field)
            file.flush()
            path = partial.with_name(f"{digest.hexdigest()}{suffix}")
            if _hold(path, held):
                partial.unlink()  # the same bytes are here already, from another address
            else:
                partial.replace(path)
                _hold(path, held)
        return path

    def _make_room(self) -> None:
        """Remove what was not used for longest and nobody uses now, down to the budget."""
        found = sorted(self._files(), key=lambda each: each[1].st_mtime)
        total = sum(status.st_size for _, status in found)
        for path, status in found:
            if total <= self._settings.brought_weights_bytes:
                return
            if _remove(path):
                total -= status.st_size

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in (self._folder / "files").iterdir():
            try:
                yield path, path.stat()
            except FileNotFoundError:
                continue  # another process removed it


def _hold(path: Path, held: ExitStack) -> bool:
    """Keep a file from being removed; tell whether it is there."""
    try:
        file = held.enter_context(path.open("rb"))
    except FileNotFoundError:
        return False
    fcntl.flock(file, fcntl.LOCK_SH)
    if not os.fstat(file.fileno()).st_nlink:
        return False  # removed between the two
    os.utime(path)
    return True


def _remove(path: Path) -> bool:
    """Remove a file that nobody holds; tell whether it is gone."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


def _wait_for(file: BinaryIO, check_cancelled: Callable[[], None]) -> None:
    """Lock a file, once whoever has it lets go."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            check_cancelled()
            time.sleep(PAUSE_S)
        else:
            return


def _in_pieces(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Join the first blocks until they tell a kind; a server may send them byte by byte."""
    head = b""
    for block in blocks:
        if len(head) >= HEAD_BYTES:
            yield block
            continue
        head += block
        if len(head) >= HEAD_BYTES:
            yield head
    if 0 < len(head) < HEAD_BYTES:
        yield head


def _kind(head: bytes, wish: Wish) -> str:
    """Return the suffix of the kind that a file begins like.

    Raises:
        ArgumentInvalid: It is none that is read.
    """
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header <= MOST_HEADER_BYTES:
        return ".safetensors"
    if head.startswith(ZIP):
        return ".pt"
    raise ArgumentInvalid(
        f"{wish.field}: the file begins with {head[:HEAD_BYTES]!r}, which neither safetensors nor "
        "torch's own .ckpt, .pt, .pth and .bin files since version 1.6 do; give the address of "
        "such a file itself, not of a page about it",
        field=wish.field,
    )


def _direct(address: str) -> str:
    """Return the address of a file for that of its page on the hub."""
    if urlsplit(address).hostname != HUB:
        return address
    return address.replace("/blob/", "/resolve/", 1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
