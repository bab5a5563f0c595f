"""A load of equal HTTP requests over kept-alive connections, as cheap for the sender as can be."""

import asyncio
import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a server did in one round.

    Attributes:
        per_s: Answers a second.
        cpu_ms: The server's own processor time for one answer, in milliseconds.
    """

    per_s: float
    cpu_ms: float


def raw(method: str, path: str, *, key: str = "", body: bytes = b"") -> bytes:
    """Return a request as it goes over the wire."""
    authorization = f"Authorization: Key {key}\r\n" if key else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def load(
    process: psutil.Process, port: int, request: bytes, *, connections: int, seconds: float
) -> Load:
    """Send a request again and again over several connections, each after the last answer."""
    before = _cpu_s(process)
    began = time.perf_counter()
    answers = asyncio.run(_send(port, request, connections, seconds))
    took_s = time.perf_counter() - began
    return Load(per_s=answers / took_s, cpu_ms=(_cpu_s(process) - before) / answers * 1000)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _send(port: int, request: bytes, connections: int, seconds: float) -> int:
    until = time.monotonic() + seconds
    lines = [_line(port, request, until) for _ in range(connections)]
    return sum(await asyncio.gather(*lines))


async def _line(port: int, request: bytes, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count = 0
    while time.monotonic() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 20"), head
        await reader.readexactly(_length(head))
        count += 1
    writer.close()
    return count


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0])
