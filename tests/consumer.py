"""A consumer of webhooks on this machine: it keeps what it gets, and answers as the test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.faulty_http import Faulty, Request, faulty_http


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(kw_only=True)
class Consumer:
    """The running consumer.

    Attributes:
        url: Where to send to.
        received: What came, in order; also what is not answered yet.
    """

    url: str = ""
    received: list[Received] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.received]


@contextmanager
def consumer(answer: Callable[[Request, Faulty], None] | int = 200) -> Iterator[Consumer]:
    """Run one; `answer` is a status, or what it does with a request."""
    made = Consumer()
    lock = threading.Lock()

    def receive(request: Request, faulty: Faulty) -> None:
        headers = {name.lower(): value for name, value in request.handler.headers.items()}
        with lock:
            made.received.append(Received(path=request.path, headers=headers, body=request.body))
        if isinstance(answer, int):
            request.answer(answer, b"said the consumer")
        else:
            answer(request, faulty)

    with faulty_http(receive) as faulty:
        made.url = f"{faulty.url}/hook"
        yield made
