"""Chain-of-Zoom through the whole system, on small weights in the published layout."""

from io import BytesIO
from ipaddress import ip_network
from typing import Any

import httpx
from PIL import Image

from scheduler.files.data_uri import spelt
from tests.api.live import live
from tests.consumer import consumer
from tests.models.chain_of_zoom.small import write_chain_of_zoom, write_language
from tests.pictures import make_pixels, save
from tests.processes import eventually
from tests.system.one_picture import run, serve_weights, start_worker
from tests.system.system import System

ENDPOINT = "fal-ai/chain-of-zoom"


def start(system: System) -> None:
    """Start all that it takes, with a language model that looks at each frame."""
    system.adjust(
        options={ENDPOINT: {"prompter": "vlm"}},
        files=(system.folder / "files").as_uri(),
        secret_key="a key for tests, known to everybody",
        webhook_allow=(ip_network("127.0.0.1/32"),),
    )
    serve_weights(system, "chain-of-zoom", lambda to: write_language(write_chain_of_zoom(to)))
    start_worker(system, ENDPOINT)


def sizes(images: list[dict[str, Any]]) -> list[tuple[str, tuple[int, int]]]:
    """Read published images; return their formats and sizes."""
    found = []
    for image in images:
        with Image.open(BytesIO(httpx.get(image["url"]).content)) as picture:
            assert picture.size == (image["width"], image["height"])
            found.append((str(picture.format), picture.size))
    return found


def test_jobs_of_a_bundle_and_a_request_over_http_store_and_tell_all_their_pictures(
    system: System,
) -> None:
    start(system)

    batch = run(
        system,
        ENDPOINT,
        {"scale": 1},
        {"destination": "one.jpg"},
        {"destination": "two.jpg", "arguments": {"scale": 2, "center_x": 0.1, "strip": True}},
        {"destination": "far.jpg", "arguments": {"scale": 9}},
        within_s=150,
    )
    with consumer() as hook, live(system.settings) as api, api.client() as client:
        wanted = {
            "image_url": spelt(save(make_pixels(60, 40, seed=6), "PNG"), "image/png"),
            "scale": 2,
            "user_prompt": "a red fox",
            "strip": True,
        }
        made = client.post(
            f"/queue/{ENDPOINT}", params={"fal_webhook": hook.url}, json=wanted
        ).json()
        eventually(lambda: hook.received, within_s=60)
        body = client.get(made["response_url"]).json()
        pictures, strip = sizes(body["images"]), sizes([body["strip"]])

    progress = system.progress(batch)
    assert (progress.succeeded, progress.rejected) == (2, 1)
    rows = {row.destination.rpartition("/")[2]: row for row in system.rows(batch)}
    one, two = (rows[name].outcome["body"] for name in ("one.jpg", "two.jpg"))
    assert (len(one["images"]), one["scale"], one["zoom_center"]) == (1, 2.0, [0.5, 0.5])
    assert (len(two["images"]), two["scale"], two["zoom_center"]) == (2, 4.0, [0.1, 0.5])
    assert "strip" not in one
    stored = sorted(path.relative_to(system.results) for path in system.results.rglob("*.jpg"))
    assert [str(path) for path in stored] == [
        "one.jpg",
        "two/00.jpg",
        "two/01.jpg",
        "two/strip.jpg",
    ]
    for path in stored:
        with Image.open(system.results / path) as picture:
            assert (picture.format, picture.size) == (
                "JPEG",
                (188, 40) if path.stem == "strip" else (60, 40),
            )
    assert pictures == [("JPEG", (60, 40))] * 2
    assert strip == [("JPEG", (188, 40))]
    told = hook.received[0].json()
    assert (told["status"], told["request_id"]) == ("OK", made["request_id"])
    assert [len(told["payload"]["images"]), told["payload"]["scale"]] == [2, 4.0]
    assert told["payload"]["strip"]["width"] == 188
