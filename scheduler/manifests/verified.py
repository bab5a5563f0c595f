"""A stream that is compared with its checksum when it has been read to its end."""

import hashlib
import io
from collections.abc import Callable
from typing import BinaryIO


class VerifiedStream(io.RawIOBase):
    """Hands bytes through, and raises instead of ending where they were not the right ones.

    Args:
        stream: From its first byte on.
        md5: In lower-case hexadecimal.
        broken: Makes the error, from the MD5 that was found.
    """

    def __init__(self, stream: BinaryIO, md5: str, broken: Callable[[str], Exception]) -> None:
        super().__init__()
        self._stream = stream
        self._expected = md5
        self._broken = broken
        self._found = hashlib.md5(usedforsecurity=False)

    def readable(self) -> bool:
        """Whether bytes can be read: always."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` with what comes next."""
        block = self._stream.read(len(buffer))
        if not block and self._found.hexdigest() != self._expected:
            raise self._broken(self._found.hexdigest())
        self._found.update(block)
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        """Close the stream below as well."""
        self._stream.close()
        super().close()
