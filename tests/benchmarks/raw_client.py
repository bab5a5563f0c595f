"""The best that a client can do: `python -m tests.benchmarks.raw_client URL COUNT AT_ONCE`.

aiohttp with one session and as many coroutines as there are connections; nothing is looked up,
signed or written down.
"""

import asyncio
import sys

import aiohttp

BODY = b"x" * 500


async def send(url: str, count: int, at_once: int) -> None:
    """Send `count` messages, `at_once` at a time."""
    headers = {"Content-Type": "application/json", "webhook-id": "evt_1", "webhook-timestamp": "1"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def some() -> None:
            for _ in range(count // at_once):
                async with session.post(url, data=BODY) as response:
                    await response.read()

        await asyncio.gather(*(some() for _ in range(at_once)))


if __name__ == "__main__":
    asyncio.run(send(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
