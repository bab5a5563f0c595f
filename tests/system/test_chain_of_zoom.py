"""Chain-of-Zoom through the whole system, on small weights in the published layout."""

from PIL import Image

from tests.models.chain_of_zoom.small import write_chain_of_zoom
from tests.system.one_picture import run, serve_weights, start_worker
from tests.system.system import System

ENDPOINT = "fal-ai/chain-of-zoom"


def test_a_job_stores_all_its_pictures_and_lists_them_even_if_it_is_one(system: System) -> None:
    serve_weights(system, "chain-of-zoom", write_chain_of_zoom)
    start_worker(system, ENDPOINT)

    batch = run(
        system,
        ENDPOINT,
        {"scale": 1},
        {"destination": "one.jpg"},
        {"destination": "two.jpg", "arguments": {"scale": 2, "center_x": 0.1}},
        {"destination": "far.jpg", "arguments": {"scale": 9}},
        within_s=150,
    )

    progress = system.progress(batch)
    assert (progress.succeeded, progress.rejected) == (2, 1)
    rows = {row.destination.rpartition("/")[2]: row for row in system.rows(batch)}
    one, two = (rows[name].outcome["body"] for name in ("one.jpg", "two.jpg"))
    assert (len(one["images"]), one["scale"], one["zoom_center"]) == (1, 2.0, [0.5, 0.5])
    assert (len(two["images"]), two["scale"], two["zoom_center"]) == (2, 4.0, [0.1, 0.5])
    for path in sorted(system.results.rglob("*.jpg")):
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == ("JPEG", (60, 40))
    assert len(list(system.results.rglob("*.jpg"))) == 3
