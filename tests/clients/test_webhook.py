"""A request's webhook, as fal's receivers check it: by the published keys, over the raw body."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from typing import Any

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.api.live import Live
from tests.clients.test_curl import LANCZOS, picture

Heard = tuple[dict[str, str], bytes]


class Receiver(BaseHTTPRequestHandler):
    """Takes what is sent to it."""

    heard: Queue[Heard]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.heard.put((dict(self.headers), body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    server.heard = Queue()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def is_signed(system: Live, headers: dict[str, str], body: bytes) -> bool:
    """Check a message as fal documents it: against every published key."""
    told = {name.lower(): value for name, value in headers.items()}
    names = ("request-id", "user-id", "timestamp")
    parts = [told[f"x-fal-webhook-{name}"] for name in names]
    message = "\n".join([*parts, hashlib.sha256(body).hexdigest()]).encode()
    signature = bytes.fromhex(told["x-fal-webhook-signature"])
    for key in httpx.get(f"{system.url}/.well-known/jwks.json").json()["keys"]:
        public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
        try:
            public.verify(signature, message)
        except InvalidSignature:
            continue
        return True
    return False


@pytest.mark.parametrize("scale", [2, 99])
def test_a_webhook_carries_the_result_and_a_good_signature(
    system: Live, receiver: HTTPServer, scale: float
) -> None:
    url = f"http://127.0.0.1:{receiver.server_port}/hook"
    body = {"image_url": picture(20), "scale": scale}
    with system.client() as client:
        made = client.post(f"/queue/{LANCZOS}", params={"fal_webhook": url}, json=body).json()
        heard: Heard = receiver.heard.get(timeout=30)  # type: ignore[attr-defined]
        result = client.get(made["response_url"])

    headers, raw = heard
    told = json.loads(raw)
    assert told["request_id"] == told["gateway_request_id"] == made["request_id"]
    assert told["status"] == ("OK" if result.status_code == 200 else "ERROR")
    assert told["payload"] == result.json()
    assert told["error"] == (None if scale == 2 else "Invalid status code: 422")
    assert is_signed(system, headers, raw)
    assert not is_signed(system, headers, raw + b" ")
