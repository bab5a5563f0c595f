"""A small S3 that answers every request 150 ms late, and is otherwise as quick as it can be.

It speaks as much of the protocol as boto3 needs to read and write whole objects. What is read is
always the same; of what is written it checks the checksum and keeps nothing. Run as
`python -m tests.benchmarks.slow_s3 PORT SIZE_BYTES`.
"""

import asyncio
import base64
import hashlib
import random
import sys
import zlib

DELAY_S = 0.150
HOST = "127.0.0.1"

READ_AT_ONCE = 2**21


async def serve(port: int, size_bytes: int) -> None:
    """Serve until killed."""
    content = random.Random(7).randbytes(size_bytes)  # noise, as an encoded photograph is
    found = _head(200, len(content), etag=hashlib.md5(content).hexdigest(), crc=_crc(content))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                method, fields = await _request(reader)
                if method == "PUT":
                    head = await _take(reader, writer, fields)
                else:
                    head = found
                await asyncio.sleep(DELAY_S)
                writer.write(head)
                if method == "GET":
                    writer.write(content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, HOST, port, limit=READ_AT_ONCE)
    await server.serve_forever()


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """Read a request up to its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.rstrip("\r\n").split("\r\n")
    pairs = (field.partition(":") for field in fields)
    return line.split()[0], {name.lower(): value.strip() for name, _, value in pairs}


async def _take(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fields: dict[str, str]
) -> bytes:
    """Read an object and return the head of the answer."""
    if fields.get("expect") == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    content = await reader.readexactly(int(fields["content-length"]))
    crc = _crc(content)
    right = fields.get("x-amz-checksum-crc32") == crc
    return _head(200 if right else 400, 0, etag=f"{zlib.crc32(content):032x}", crc=crc)


def _head(status: int, length: int, *, etag: str, crc: str) -> bytes:
    return (
        f"HTTP/1.1 {status} -\r\nContent-Length: {length}\r\nContent-Type: image/png\r\n"
        f'ETag: "{etag}"\r\nx-amz-checksum-crc32: {crc}\r\n'
        "x-amz-checksum-type: FULL_OBJECT\r\n"
        "Last-Modified: Wed, 01 Jan 2025 00:00:00 GMT\r\n\r\n"
    ).encode()


def _crc(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
