"""Real images through the whole life of a job: file:// and S3 over HTTP, Lanczos on the CPU."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from PIL import Image

from models.catalog import ENDPOINTS
from models.checkpoint.manifest import LocalWeights
from models.compact.schema import CompactRequest
from models.image import Picture
from models.lanczos.pipeline import LanczosUpscaler
from models.lanczos.schema import LanczosRequest
from models.options import NoOptions
from models.upscaler import Context, Result
from models.version import VERSION
from scheduler.ledger import retries
from scheduler.ledger.periods import job_id
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from scheduler.storage import open_storage
from tests.factories import ENDPOINT, make_batch, make_row
from tests.models.contexts import make_context
from tests.models.untrained import Untrained
from tests.pictures import make_pixels, save
from tests.workers.real import PHOTO, again, only, real_rig, submit
from tests.workers.rig import rows
from workers import codec
from workers.heartbeat import Lease
from workers.outcome import StoredImage

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


def test_a_picture_is_enlarged_and_stored_with_everything_that_is_known_of_it(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    batch = submit(ledger, tmp_path, PHOTO, arguments='{"scale": 3}', seed=42)

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))

    row = only(ledger, batch)
    assert row.state == JobState.SUCCEEDED, row.error
    assert row.outcome is not None
    data = (tmp_path / "out" / "result.png").read_bytes()
    (stored,) = row.outcome["objects"]
    assert Image.open(BytesIO(data)).size == (90, 60)
    assert stored == {
        "address": row.destination,
        "content_type": "image/png",
        "size_bytes": len(data),
        "width": 90,
        "height": 60,
        "etag": open_storage(settings).stat(str(row.destination)).etag,
        "checksum": stored["checksum"],
    }
    assert stored["checksum"].startswith("crc32:")
    assert row.outcome["body"] == {
        "image": {
            "url": row.destination,
            "content_type": "image/png",
            "file_name": "result.png",
            "file_size": len(data),
            "width": 90,
            "height": 60,
        },
        "seed": 42,
    }
    assert row.outcome["input"] | {"etag": ""} == {
        "width": 30,
        "height": 20,
        "bytes": len(PHOTO),
        "etag": "",
    }
    assert set(row.outcome["timings"]) == {"fetch_s", "decode_s", "device_s", "encode_s", "store_s"}
    assert row.outcome["worker"] == "host:1"
    assert codec.read_provenance(data) == {
        "job": str(row.id),
        "batch": str(batch),
        "endpoint": ENDPOINT,
        "version": VERSION,
        "seed": "42",
        "source": row.source,
        "arguments": '{"scale": 3}',
    }


def test_the_other_reading_of_a_source_is_tried_where_nothing_is_found(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    there, absent = (tmp_path / "in.png").as_uri(), (tmp_path / "in%2Epng").as_uri()
    found = submit(ledger, tmp_path, PHOTO, source=absent, source_alternative=there)
    neither = submit(ledger, tmp_path, PHOTO, source=absent, source_alternative=absent + "x")
    itself = submit(
        ledger, tmp_path, PHOTO, source=absent, source_alternative=there, destination=there
    )

    with real_rig(ledger, settings) as it:
        it.run([*it.queue(found), *it.queue(neither), *it.queue(itself)])

    done, missing, refused = (only(ledger, each) for each in (found, neither, itself))
    assert done.state == JobState.SUCCEEDED
    assert done.outcome["input"]["address"] == there
    assert (missing.state, missing.error["field"]) == (JobState.FAILED, "image_url")
    assert "other reading" in missing.error["message"]
    assert "the source itself" in refused.error["message"]


def test_a_picture_in_a_bucket_gets_its_origin_into_the_object_s_metadata(
    ledger: Ledger, settings: Settings, s3_url: str, bucket: str, s3_client: "S3Client"
) -> None:
    settings = settings.model_copy(
        update={"s3_endpoint_url": s3_url, "s3_addressing_style": "path"}
    )
    s3_client.put_object(Bucket=bucket, Key="in/a b+ü.png", Body=PHOTO)
    row = make_row(
        1, source=f"s3://{bucket}/in/a b+ü.png", destination=f"s3://{bucket}/out/a b+ü.png", seed=9
    )
    batch = make_batch(ledger, [row])

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))

    assert only(ledger, batch).state == JobState.SUCCEEDED, only(ledger, batch).error
    found = open_storage(settings).stat(f"s3://{bucket}/out/a b+ü.png")
    assert found.content_type == "image/png"
    assert found.metadata["enlarger-job"] == str(job_id(batch, 1))
    assert found.metadata["enlarger-seed"] == "9"
    assert found.metadata["enlarger-source"] == row.source


def test_the_version_that_the_row_names_is_read_however_new_another_is(
    ledger: Ledger, settings: Settings, s3_url: str, bucket: str, s3_client: "S3Client"
) -> None:
    settings = settings.model_copy(
        update={"s3_endpoint_url": s3_url, "s3_addressing_style": "path"}
    )
    s3_client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old = s3_client.put_object(Bucket=bucket, Key="in.png", Body=PHOTO)["VersionId"]
    s3_client.put_object(Bucket=bucket, Key="in.png", Body=save(make_pixels(4, 4), "PNG"))
    places = {"source": f"s3://{bucket}/in.png"}
    batch = make_batch(
        ledger,
        [
            make_row(1, source_version=old, destination=f"s3://{bucket}/old.png", **places),
            make_row(2, destination=f"s3://{bucket}/new.png", **places),
            make_row(3, source_version="none", destination=f"s3://{bucket}/no.png", **places),
        ],
    )

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))

    named, newest, absent = rows(ledger, batch)
    assert (named.outcome["input"]["width"], newest.outcome["input"]["width"]) == (30, 4)
    assert absent.error["code"] in ("object_missing", "storage_refused")


class Breathless(LanczosUpscaler):
    """Has read its picture, and finds no memory to enlarge it in."""

    def upscale(self, picture: Picture, request: LanczosRequest, context: Context) -> Result:
        raise MemoryError


def test_every_attempt_reads_what_the_first_one_did_until_somebody_retries(
    ledger: Ledger, settings: Settings, s3_url: str, bucket: str, s3_client: "S3Client"
) -> None:
    changes = {"s3_endpoint_url": s3_url, "s3_addressing_style": "path", "backoff_s": 0.01}
    settings = settings.model_copy(update=changes)
    breathless = replace(ENDPOINTS[ENDPOINT], pipeline=f"{__name__}:Breathless")
    row = make_row(1, source=f"s3://{bucket}/in.png", destination=f"s3://{bucket}/out.png")
    batch = make_batch(ledger, [row])
    s3_client.put_object(Bucket=bucket, Key="in.png", Body=PHOTO)

    with real_rig(ledger, settings, endpoints={ENDPOINT: breathless}) as it:
        it.run(it.queue(batch))
    given_back = only(ledger, batch)
    s3_client.put_object(Bucket=bucket, Key="in.png", Body=save(make_pixels(4, 4), "PNG"))
    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))
        refused = only(ledger, batch)
        with ledger.begin() as session:
            retries.retry(session, batch, [JobState.FAILED])
            retries.go_on(session, limit=10)
        it.run(it.queue(batch))

    assert (given_back.state, given_back.failures) == (JobState.WAITING, 1)
    assert refused.error is not None
    assert (refused.error["code"], refused.error["field"]) == ("object_changed", "image_url")
    assert "enlarger retry" in refused.error["message"]
    done = only(ledger, batch)
    assert done.state == JobState.SUCCEEDED, done.error
    assert done.outcome is not None
    assert done.outcome["input"]["width"] == 4


@pytest.mark.parametrize(
    ("data", "row", "code", "field"),
    [
        (b"", {}, "image_unreadable", "image_url"),
        (b"<html>gone</html>", {}, "image_unreadable", "image_url"),
        (PHOTO[:200], {}, "image_unreadable", "image_url"),
        (PHOTO, {"source": "file:///nowhere/x.png"}, "object_missing", None),
        (PHOTO, {"source": "ftp://host/x.png"}, "address_invalid", None),
        (PHOTO, {"arguments": '{"scale": 99}'}, "argument_invalid", "scale"),
        (PHOTO, {"arguments": '{"size": 2}'}, "argument_invalid", "size"),
        (PHOTO, {"endpoint": "no/such"}, "unknown_endpoint", "endpoint"),
    ],
    ids=["empty", "html", "cut", "missing", "scheme", "range", "name", "endpoint"],
)
def test_what_is_wrong_with_a_job_is_said_on_the_job(
    ledger: Ledger,
    settings: Settings,
    tmp_path: Path,
    data: bytes,
    row: dict[str, Any],
    code: str,
    field: str | None,
) -> None:
    batch = submit(ledger, tmp_path, data, **row)

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))

    found = only(ledger, batch)
    assert (found.state, found.failures) == (JobState.FAILED, 0)
    assert found.error is not None
    assert (found.error["code"], found.error["kind"]) == (code, "request")
    assert field is None or found.error["field"] == field
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("limit", ["max_input_pixels", "max_output_pixels"])
def test_too_many_pixels_fail_before_any_is_decoded(
    ledger: Ledger, settings: Settings, tmp_path: Path, limit: str
) -> None:
    settings = settings.model_copy(update={limit: 599})
    batch = submit(ledger, tmp_path, PHOTO, arguments='{"scale": 1}')

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))

    error = only(ledger, batch).error
    assert error is not None
    assert error["code"] == "image_too_large"
    assert "599" in error["message"]


def test_the_source_is_never_replaced_unless_that_was_asked_for(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "in.png").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "in.png")
    batch = submit(ledger, tmp_path, PHOTO, destination=(tmp_path / "link.png").as_uri())

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))

    error = only(ledger, batch).error
    assert error is not None
    assert (error["code"], error["field"]) == ("destination_unwritable", "destination")
    assert (tmp_path / "in.png").read_bytes() == PHOTO


def test_a_result_does_not_leave_the_destination_by_a_link(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "out").symlink_to(outside)
    batch = submit(ledger, inside, PHOTO)

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))

    assert only(ledger, batch).state == JobState.FAILED
    assert list(outside.iterdir()) == []


def test_a_second_attempt_in_place_does_not_enlarge_the_result_of_the_first(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    place = (tmp_path / "in.png").as_uri()
    batch = submit(ledger, tmp_path, PHOTO, destination=place, options={"in_place": True})

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))
        first = (tmp_path / "in.png").read_bytes()
        again(ledger, batch)
        it.run(it.queue(batch))

    row = only(ledger, batch)
    assert row.state == JobState.SUCCEEDED, row.error
    assert row.outcome is not None
    assert Image.open(BytesIO(first)).size == (60, 40)
    assert (tmp_path / "in.png").read_bytes() == first
    assert row.outcome["body"]["image"]["width"] == 60


def test_a_second_attempt_recognises_its_own_object_where_nothing_may_be_replaced(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    batch = submit(ledger, tmp_path, PHOTO, options={"only_if_absent": True})

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))
        again(ledger, batch)
        it.run(it.queue(batch))

    assert only(ledger, batch).state == JobState.SUCCEEDED, only(ledger, batch).error


@pytest.mark.parametrize("size", [3, 10**6])
def test_somebody_else_s_object_is_not_replaced_where_that_was_forbidden(
    ledger: Ledger, settings: Settings, tmp_path: Path, size: int
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "result.png").write_bytes(bytes(size))
    batch = submit(ledger, tmp_path, PHOTO, options={"only_if_absent": True})

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))

    error = only(ledger, batch).error
    assert error is not None
    assert error["code"] == "object_exists"
    assert (tmp_path / "out" / "result.png").read_bytes() == bytes(size)


def test_nothing_is_uploaded_with_less_lease_left_than_an_upload_may_take(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    batch = submit(ledger, tmp_path, PHOTO)
    lapsed = Lease(3600)  # never renewed

    with real_rig(ledger, settings, lease=lapsed) as it:
        it.run(it.queue(batch))

    assert not (tmp_path / "out").exists()
    assert only(ledger, batch).state == JobState.RUNNING, "it is for the sweeper to give it away"


def test_an_upload_waits_for_the_lease_to_be_renewed(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    batch = submit(ledger, tmp_path, PHOTO)
    now = 100.0
    lease = Lease(60.0, clock=lambda: now)
    lease.renewed(sent_at=60.0)  # 20 s are left, 30 s are needed

    with real_rig(ledger, settings, lease=lease) as it:
        run = it.hand_in(it.queue(batch))
        run.join(0.5)
        stored_early = (tmp_path / "out").exists()
        lease.renewed(sent_at=100.0)
        run.join(20)

    assert not stored_early
    assert only(ledger, batch).state == JobState.SUCCEEDED


class Several:
    """A pipeline that makes two images of one, and shows both in a third."""

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: NoOptions, device: str, dtype: str
    ) -> Self:
        return cls()

    def upscale(self, picture: Picture, request: LanczosRequest, context: Context) -> Result:
        one = LanczosUpscaler().upscale(picture, request, context)
        strip = np.concatenate(one.images * 2, axis=1)
        return replace(one, images=one.images * 2, further={"strip": strip})


def test_several_images_go_to_numbered_places_and_further_ones_have_names(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    endpoint = replace(ENDPOINTS[ENDPOINT], pipeline=f"{__name__}:Several")
    batch = submit(ledger, tmp_path, PHOTO)

    with real_rig(ledger, settings, endpoints={ENDPOINT: endpoint}) as it:
        it.run(it.queue(batch))

    row = only(ledger, batch)
    assert row.state == JobState.SUCCEEDED, row.error
    assert row.outcome is not None
    names = sorted(path.name for path in (tmp_path / "out" / "result").iterdir())
    assert names == ["00.png", "01.png", "strip.png"]
    body, objects = row.outcome["body"], row.outcome["objects"]
    assert [image["file_name"] for image in body["images"]] == names[:2]
    assert (body["strip"]["file_name"], body["strip"]["width"]) == (
        "strip.png",
        2 * body["images"][0]["width"],
    )
    assert [each.get("field") for each in objects] == [None, None, "strip"]
    assert [StoredImage.of(each).entry() for each in objects] == objects


class Opaque:
    """A pipeline that has composed its image on white."""

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: NoOptions, device: str, dtype: str
    ) -> Self:
        return cls()

    def upscale(self, picture: Picture, request: LanczosRequest, context: Context) -> Result:
        return replace(LanczosUpscaler().upscale(picture, request, context), opaque=True)


def test_an_image_that_is_on_white_gets_no_alpha_back(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    endpoint = replace(ENDPOINTS[ENDPOINT], pipeline=f"{__name__}:Opaque")
    clear = BytesIO()
    Image.new("RGBA", (8, 6), (200, 100, 50, 128)).save(clear, "PNG")
    batch = submit(ledger, tmp_path, clear.getvalue())

    with real_rig(ledger, settings, endpoints={ENDPOINT: endpoint}) as it:
        it.run(it.queue(batch))

    row = only(ledger, batch)
    assert row.state == JobState.SUCCEEDED, row.error
    assert row.outcome is not None
    assert "image" in row.outcome["body"]
    with Image.open(tmp_path / "out" / "result.png") as picture:
        assert picture.mode == "RGB"


def test_many_pictures_go_through_a_budget_that_is_smaller_than_any_of_them(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"inflight_bytes": 100})
    (tmp_path / "in.png").write_bytes(PHOTO)
    given = [
        make_row(
            line,
            source=(tmp_path / "in.png").as_uri(),
            destination=(tmp_path / "out" / f"{line}.png").as_uri(),
        )
        for line in range(1, 13)
    ]
    batch = make_batch(ledger, given, destination=f"{tmp_path.as_uri()}/")

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))

    assert {row.state for row in rows(ledger, batch)} == {JobState.SUCCEEDED}


def test_small_pictures_of_several_jobs_share_a_call_and_get_what_each_would_get_alone(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    endpoint = replace(
        ENDPOINTS[ENDPOINT],
        schema="models.compact.schema:CompactRequest",
        pipeline="tests.models.untrained:Untrained",
        batch_pixels=16384,
    )
    large = make_pixels(300, 250)  # keeps the device until all others wait for it
    pictures = [large, *(make_pixels(20 + line, 30, seed=line) for line in range(12))]
    for line, pixels in enumerate(pictures):
        (tmp_path / f"{line}.png").write_bytes(save(pixels, "PNG"))
    batch = make_batch(
        ledger,
        [
            make_row(
                line + 1,
                source=(tmp_path / f"{line}.png").as_uri(),
                destination=(tmp_path / "out" / f"{line}.png").as_uri(),
            )
            for line in range(len(pictures))
        ],
        destination=f"{tmp_path.as_uri()}/",
    )
    settings = settings.model_copy(update={"fetch_threads": 1})

    with real_rig(ledger, settings, endpoints={ENDPOINT: endpoint}) as it:
        it.run(it.queue(batch))

    found = rows(ledger, batch)
    assert [row.state for row in found] == [JobState.SUCCEEDED] * len(pictures)
    shares = {row.outcome["timings"]["device_s"] for row in found if row.outcome is not None}
    assert len(shares) < len(pictures) / 2
    alone = Untrained.load(None, options=NoOptions(), device="cpu", dtype="float32")
    request = CompactRequest(image_url="picture.png")
    for line, pixels in enumerate(pictures):
        (expected,) = alone.upscale(Picture(pixels=pixels), request, make_context()).images
        stored = np.asarray(Image.open(tmp_path / "out" / f"{line}.png"))
        assert stored.shape == expected.shape
        assert np.abs(stored.astype(int) - expected).max() <= 1
