"""`python -m tests.clients.plain_user`: a program that knows of fal only; prints what it got.

Where fal is, it is told by the environment alone.
"""

import json
import os
import sys
import urllib.request

import fal_client

ENDPOINT = "enlarger/lanczos"


def main() -> None:
    arguments = {"image_url": os.environ["PICTURE"], "scale": 2}
    told: list[str] = []
    subscribed = fal_client.subscribe(
        ENDPOINT, arguments, with_logs=True, on_queue_update=lambda u: told.append(type(u).__name__)
    )
    ran = fal_client.run(ENDPOINT, arguments={**arguments, "scale": 3})
    found = {
        "subscribed": subscribed["image"],
        "ran": ran["image"],
        "told": told,
        "uploaded": None,
        "fetched": fetched(ran["image"]["url"]),
    }
    if "--upload" in sys.argv:
        url = fal_client.upload(b"not quite a picture", "image/png", "a.png")
        found["uploaded"] = url
    print(json.dumps(found))  # noqa: T201 - its result


def fetched(url: str) -> str:
    """Return the kind of what is at an address of a result."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        return str(answer.headers.get_content_type())


if __name__ == "__main__":
    main()
