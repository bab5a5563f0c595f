"""Files that are no good, by what is wrong with them."""

import struct
import zlib
from io import BytesIO

from PIL import Image

from tests.pictures import make_pixels, save

BOMB_SIDE = 30_000


def truncated_jpeg() -> bytes:
    """Return half a photograph."""
    whole = save(make_pixels(80, 60), "JPEG")
    return whole[: len(whole) // 2]


def corrupt_png() -> bytes:
    """Return a picture with a flipped bit in its pixels."""
    data = bytearray(save(make_pixels(40, 30), "PNG"))
    data[len(data) // 2] ^= 1
    return bytes(data)


def bomb() -> bytes:
    """Return a small file that unpacks to 900 million pixels."""
    header = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(1)
    row = bytes(1 + BOMB_SIDE // 8)
    pixels = b"".join(packer.compress(row) for _ in range(BOMB_SIDE)) + packer.flush()
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def animation() -> bytes:
    """Return a film of three pictures."""
    frames = [Image.fromarray(make_pixels(16, 16, seed=seed)) for seed in range(3)]
    out = BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=100)
    return out.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )
