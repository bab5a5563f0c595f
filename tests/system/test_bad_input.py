"""One batch with everything that can be wrong with a row, next to good pictures."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from scheduler.ledger.tables import JobState
from tests.pictures import make_pixels, save
from tests.system import hostile
from tests.system.gateway import Gateway
from tests.system.invariants import check_invariants, lines
from tests.system.system import System, photo

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

LIMIT_PIXELS = 1_000_000
FAILED, REJECTED = JobState.FAILED, JobState.REJECTED


class Bad(NamedTuple):
    """A row that must end in its own error.

    Attributes:
        name: The object's.
        data: Its bytes; None stores nothing.
        state: How the row ends.
        code: The error's.
        field: What it blames.
        words: What its message says, among other things.
        columns: Of the manifest, beside the source.
    """

    name: str
    data: bytes | None
    state: JobState
    code: str
    field: str | None
    words: str
    columns: Mapping[str, Any] = MappingProxyType({})


def unreadable(name: str, data: bytes, words: str) -> Bad:
    return Bad(name, data, FAILED, "image_unreadable", "image_url", words)


def too_large(name: str, data: bytes, words: str, **arguments: Any) -> Bad:
    columns = {"arguments": arguments}
    return Bad(name, data, FAILED, "image_too_large", "image_url", words, columns)


def argument(name: str, field: str, words: str, value: Any) -> Bad:
    columns = {"arguments": {field: value}}
    return Bad(name, photo(99), REJECTED, "row_invalid", field, words, columns)


BAD = (
    unreadable("truncated.jpg", hostile.truncated_jpeg(), "damaged"),
    unreadable("corrupt.png", hostile.corrupt_png(), "damaged"),
    unreadable("empty.png", b"", "0 bytes"),
    unreadable("page.jpg", b"<!DOCTYPE html><html>Log in</html>", "HTML page"),
    unreadable("film.webp", hostile.animation(), "animated"),
    unreadable("noise.tif", bytes(range(256)), "no image that we know"),
    too_large("bomb.png", hostile.bomb(), "900,000,000 pixels"),
    too_large("large.png", save(make_pixels(1200, 900), "PNG"), "1,080,000 pixels"),
    Bad("missing.png", None, FAILED, "object_missing", "image_url", "nothing is stored"),
    Bad("denied.png", photo(98), FAILED, "access_denied", "image_url", "denied.png"),
    argument("range.png", "scale", "99 is not allowed; it must be a number from 0.1 to 16", 99),
    argument("type.png", "scale", "number", "large"),
    argument("unknown.png", "sclae", "did you mean scale?", 2),
    argument("format.png", "output_format", "must be one of png, jpg, webp", "gif"),
)
GOOD = {
    "one.png": photo(1),
    "two.jpg": save(make_pixels(30, 20), "JPEG"),
    "wrong-suffix.tif": photo(2),
    "four.webp": save(make_pixels(21, 33), "WEBP", lossless=True),
}
NO_ROWS = {
    "{broken": None,
    '{"id": "no source"}': "source",
    '{"source": "ftp://elsewhere/a.png"}': "source",
    '{"source": "s3://photos/a.png", "arguments": [2]}': "arguments",
    "[]": None,
}
"""Lines that are no rows, each with the column that is to blame."""


def test_each_bad_row_ends_in_its_own_error_and_every_good_one_succeeds(
    system: System, store: Gateway, bucket: str
) -> None:
    system.adjust(max_input_pixels=LIMIT_PIXELS)
    _fill(system.use_store(store), bucket)
    store.denied = ("/denied.png",)
    system.start_scheduler()
    system.start_worker()

    batch = system.submit(f"s3://{bucket}/rows.jsonl", destination=f"s3://{bucket}/results/")
    system.wait_finished(batch)

    check_invariants(system, batch)
    results = {line["line"]: line for line in lines(system, f"s3://{bucket}/results/results.jsonl")}
    rows = iter(sorted(results))
    for good in GOOD:
        line = results[next(rows)]
        assert (line["source"], line["state"]) == (f"s3://{bucket}/{good}", JobState.SUCCEEDED)
        assert line["album"] == "a column of the user's own"
    for bad in BAD:
        _check_bad(results[next(rows)], bad)
    for field in NO_ROWS.values():
        line = results[next(rows)]
        assert (line["state"], line["error"]["field"]) == (REJECTED, field)
    assert {row.failures for row in system.rows(batch)} == {0}, "none was tried again"


def _fill(client: "S3Client", bucket: str) -> None:
    """Store the objects, and a manifest of good, bad and impossible rows."""
    stored = GOOD | {bad.name: bad.data for bad in BAD if bad.data is not None}
    for name, data in stored.items():
        client.put_object(Bucket=bucket, Key=name, Body=data)
    rows: list[dict[str, Any]] = [
        {"source": f"s3://{bucket}/{name}", "album": "a column of the user's own"} for name in GOOD
    ]
    rows += [{"source": f"s3://{bucket}/{bad.name}", **bad.columns} for bad in BAD]
    text = "\n".join([*map(json.dumps, rows), *NO_ROWS])
    client.put_object(Bucket=bucket, Key="rows.jsonl", Body=text.encode())


def _check_bad(line: dict[str, Any], bad: Bad) -> None:
    error = line["error"]
    found = (line["state"], error["code"], error["field"])
    assert found == (bad.state, bad.code, bad.field), f"{bad.name}: {line}"
    assert bad.words in error["message"], bad.name
