"""Small pictures of a row's source and result, side by side: the same part of both.

Sources and results are hostile, and the scheduler decodes them in its own process. So: only formats
that workers read, only rows that a worker decoded in full before, only as many pixels and bytes as
below, one pair at a time, and only for so long. Whatever goes wrong costs one pair and says why.
"""

import struct
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from models.errors import EnlargerError
from scheduler.ledger.rows import RowRecord
from scheduler.report import words
from scheduler.report.comparison import Comparison, compare
from scheduler.storage import Storage

# Pillow's own limit is one number for the whole process; `_opened` compares with ours instead.
Image.MAX_IMAGE_PIXELS = None

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
MAX_PIXELS = 100_000_000
"""Four bytes each while decoded: what a scheduler can spare."""
MAX_BYTES = 256 * 2**20
"""Of one file; copies lie on the disk."""
BUDGET_S = 60.0
"""A report is not worth more; what comes later is left out."""
FETCHES = 4
"""Pairs that are copied at once; they are decoded one at a time, for the memory's sake."""
BLOCK = 2**20
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on bytes that are not what they claim."""


class Unseen(Exception):
    """Why there is no picture, for people; the sheet shows it instead."""


class Thumbnails:
    """Makes comparisons until its time is up.

    Args:
        storage: Where sources and results are.
        folder: For copies of them while they are looked at.
        budget_s: For all of them together.
    """

    def __init__(self, storage: Storage, folder: Path, *, budget_s: float = BUDGET_S) -> None:
        self._storage = storage
        self._folder = folder
        self._budget_s = budget_s

    def of(self, rows: Iterable[RowRecord]) -> Iterator[Comparison | Unseen]:
        """Yield what there is to see of each row, in order."""
        deadline = time.monotonic() + self._budget_s

        def look(row: RowRecord) -> Comparison | Unseen:
            try:
                return self._look(row, deadline, decoder)
            except Unseen as why:
                return why

        # One thread decodes for all: the C library keeps what each thread has freed for itself, and
        # four threads that took turns held four large pictures (1.6 GB instead of 0.5 GB seen).
        with (
            ThreadPoolExecutor(1, thread_name_prefix="decode") as decoder,
            ThreadPoolExecutor(FETCHES, thread_name_prefix="thumbnails") as pool,
        ):
            yield from pool.map(look, rows)

    def _look(self, row: RowRecord, deadline: float, decoder: Executor) -> Comparison:
        address = row.objects[0].get("address") if row.objects else None
        if row.read_from is None or address is None:
            reason = "the ledger names no result"
            raise Unseen(reason)
        if row.existing:
            reason = "the result was there before, and nobody has looked into it"
            raise Unseen(reason)
        if row.read_from == address:
            reason = "the result took its source's place"
            raise Unseen(reason)
        # What the job saw and what it made, or nothing: the sheet compares no others.
        read = None if row.source_version else row.input.get("etag")
        stored = row.objects[0].get("etag")
        with (
            self._copied("source", row.read_from, row.source_version, read, deadline) as source,
            self._copied("result", address, None, stored, deadline) as result,
        ):
            return decoder.submit(_compared, source, result, deadline).result()

    @contextmanager
    def _copied(
        self, role: str, address: str, version: str | None, etag: str | None, deadline: float
    ) -> Iterator[Path]:
        """Copy an object here for as long as it is needed.

        Even a store that is unwell is a reason to go on without: one object must not keep a report
        from ever being written. A store that is down altogether refuses the report itself.
        """
        path = self._folder / f"{role}-{threading.get_ident()}"
        try:
            _check_time(deadline)
            with self._storage.open(address, version=version, etag=etag) as stream:
                _copy(role, stream, path, deadline)
            yield path
        except EnlargerError as exc:
            reason = f"the {role} could not be read: {exc.code.replace('_', ' ')}"
            raise Unseen(reason) from exc
        finally:
            path.unlink(missing_ok=True)


def _copy(role: str, stream: BinaryIO, path: Path, deadline: float) -> None:
    left = MAX_BYTES
    with path.open("wb") as copy:
        while block := stream.read(BLOCK):
            _check_time(deadline)
            left -= len(block)
            if left < 0:
                reason = f"the {role} has more than {MAX_BYTES // 2**20} MiB"
                raise Unseen(reason)
            copy.write(block)


def _check_time(deadline: float) -> None:
    if time.monotonic() >= deadline:
        reason = "left out: a report's pictures may take only so long"
        raise Unseen(reason)


def _compared(source: Path, result: Path, deadline: float) -> Comparison:
    _check_time(deadline)
    with ExitStack() as opened:
        before = opened.enter_context(_opened("source", source))
        after = opened.enter_context(_opened("result", result))
        with _damage_told("pictures"):
            return compare(before, after)


def _opened(role: str, path: Path) -> Image.Image:
    """Read a picture's header only."""
    with _damage_told(role):
        image = Image.open(path, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        size = words.pixels(image.width, image.height)
        reason = f"the {role} is too large for this sheet: {size} pixels"
        raise Unseen(reason)
    return image


@contextmanager
def _damage_told(role: str) -> Iterator[None]:
    """Say so where pixels can't be had."""
    try:
        yield
    except DAMAGE as exc:
        reason = f"the {role} could not be decoded"
        raise Unseen(reason) from exc
