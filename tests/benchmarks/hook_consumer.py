"""A consumer of webhooks in a process of its own: `python -m tests.benchmarks.hook_consumer PORT`.

It listens on all addresses of the loopback, each of which is a destination of its own. A request to
/hang is never answered; /seen tells when the others came, to each destination.
"""

import asyncio
import sys
import time
from collections import defaultdict

from aiohttp import web


class Seen:
    """When what came, by the host that it was sent to."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)

    async def take(self, request: web.Request) -> web.Response:
        """Take a message."""
        await request.read()
        self.times[request.host.split(":")[0]].append(time.monotonic())
        return web.Response(text="ok")

    async def hang(self, _request: web.Request) -> web.Response:
        """Take a message and never say so."""
        await asyncio.sleep(3600)
        return web.Response()

    async def tell(self, _request: web.Request) -> web.Response:
        """Tell what came, and forget it."""
        answer = web.json_response(self.times)
        self.times = defaultdict(list)
        return answer


def main() -> None:
    """Serve until SIGTERM."""
    seen = Seen()
    app = web.Application()
    app.add_routes(
        [web.post("/hook", seen.take), web.post("/hang", seen.hang), web.get("/seen", seen.tell)]
    )
    web.run_app(
        app, host="0.0.0.0", port=int(sys.argv[1]), access_log=None, shutdown_timeout=0.1,
        print=lambda *_: None,
    )  # fmt: skip


if __name__ == "__main__":
    main()
