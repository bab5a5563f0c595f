"""Copies what children write into their log files to our own standard error, as it comes.

Containers and journals collect a process's own output; children's output goes to files, so that
neither a full pipe can stop them nor our death take their last words away.
"""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

LOOK_S = 0.2
CHUNK_BYTES = 2**16


class Relay:
    """A context manager that relays until it is left, the last bytes included."""

    def __init__(self, logs: Sequence[Path]) -> None:
        self._logs = logs
        self._open: dict[Path, BinaryIO] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self) -> "Relay":
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stopping.set()
        self._thread.join()
        for file in self._open.values():
            file.close()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            self._copy_all()
        self._copy_all()

    def _copy_all(self) -> None:
        for path in self._logs:
            self._copy(path)
        sys.stderr.buffer.flush()

    def _copy(self, path: Path) -> None:
        """Copy what is new, and follow the name to a new file when the old one was set aside."""
        if path not in self._open:
            if not path.exists():
                return
            self._open[path] = path.open("rb")
        file = self._open[path]
        while chunk := file.read(CHUNK_BYTES):
            sys.stderr.buffer.write(chunk)
        if path.exists() and path.stat().st_ino != os.fstat(file.fileno()).st_ino:
            file.close()
            del self._open[path]
            self._copy(path)
