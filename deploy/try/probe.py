"""What try-compose.sh asks from within the network; each question is one function.

python3 probe.py put | outcome | heard BATCH TYPE | front KEY | scraped
"""

import base64
import io
import json
import ssl
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from scheduler.settings import load
from scheduler.storage import open_storage

COPIES = 2
WAIT_S = 60


def put() -> None:
    """Store the demo's photographs, several times under different names."""
    storage = open_storage(load())
    for photo in sorted(Path("/photos").iterdir()):
        for copy in range(COPIES):
            address = f"s3://photos/in/{copy}-{photo.name}"
            storage.write(address, photo.read_bytes(), content_type="application/octet-stream")


def outcome() -> None:
    """Read a batch's results from standard input; all must be in the store. Print what it took.

    Prints how many images there are, and how many of them needed a further attempt.
    """
    storage = open_storage(load())
    rows = [json.loads(line) for line in sys.stdin]
    for row in rows:
        _expect(row["state"] == "succeeded", row)
        for kept in row["objects"]:
            _expect(storage.stat(kept["address"]).size == kept["size_bytes"], kept)
    print(len(rows), sum(row["failures"] > 0 for row in rows))  # noqa: T201


def heard(batch: str, kind: str) -> None:
    """End with 0 if a message of this kind about this batch was received."""
    lines = Path("/tmp/messages.jsonl").read_text(encoding="utf-8").splitlines()  # noqa: S108
    messages = [json.loads(line) for line in lines]
    if not any(each["type"] == kind and each["data"]["batch_id"] == batch for each in messages):
        sys.exit(1)


def front(key: str) -> None:
    """Call fal's names by TLS, with an authority's certificate from standard input."""
    trusting = ssl.create_default_context(cadata=sys.stdin.read())

    def ask(url: str, body: bytes | None = None, **headers: str) -> bytes:
        request = urllib.request.Request(url, body, headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=WAIT_S, context=trusting) as answer:  # noqa: S310
            return bytes(answer.read())

    def call(url: str) -> Any:  # noqa: ANN401 - JSON
        body = json.dumps({"image_url": _picture(), "scale": 2}).encode()
        return json.loads(ask(url, body, Authorization=f"Key {key}"))

    submitted = call("https://queue.fal.run/enlarger/lanczos")
    _expect(submitted["status_url"].startswith("https://queue.fal.run/"), submitted)
    result = call("https://fal.run/enlarger/lanczos")
    url = result["image"]["url"]
    _expect(url.startswith("https://v3.fal.media/"), result)
    with Image.open(io.BytesIO(ask(url))) as image:
        _expect(image.size == (16, 16), image.size)


def scraped() -> None:
    """End with 0 if Prometheus reads the API's figures."""
    url = "http://prometheus:9090/api/v1/query?query=max(enlarger_batches)%20or%20up"
    with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
        found = json.load(answer)["data"]["result"]
    _expect([each["value"][1] for each in found if each["metric"].get("job")] == ["1"], found)


def _picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _expect(it_is_so: bool, seen: Any) -> None:  # noqa: ANN401 - whatever was seen
    if not it_is_so:
        sys.exit(f"not as expected: {seen}")


if __name__ == "__main__":
    QUESTIONS: dict[str, Callable[..., None]] = {
        each.__name__: each for each in (put, outcome, heard, front, scraped)
    }
    QUESTIONS[sys.argv[1]](*sys.argv[2:])
