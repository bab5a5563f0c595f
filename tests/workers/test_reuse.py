"""What an equal job has made is copied, or computed again; never is it another's result."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from models.catalog import ENDPOINTS
from models.checkpoint.manifest import File, Manifest, Part, Variant
from models.image import Picture
from models.lanczos.pipeline import LanczosUpscaler
from models.lanczos.schema import LanczosRequest
from models.options import NoOptions
from models.schema import OutputFormat
from models.upscaler import Context, Result
from scheduler import keeping
from scheduler.ledger import batches, jobs
from scheduler.ledger.periods import job_id
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import Job, JobState
from scheduler.report import results
from scheduler.settings import Settings
from scheduler.storage import open_storage
from tests.factories import ENDPOINT, make_batch, make_row, make_worker
from tests.pictures import make_pixels, save
from tests.workers.manifests import FREE
from tests.workers.real import PHOTO, only, real_rig, submit
from tests.workers.rig import Rig, queue
from workers import codec
from workers.heartbeat import Lease
from workers.life import Bundle, Life
from workers.recipe import Recipes
from workers.shortcuts import Shortcuts
from workers.stock import Stock
from workers.storeroom import Storeroom

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

REUSE = {"reuse": True}


def ran(it: Rig, folder: Path, data: bytes = PHOTO, **row: Any) -> Job:
    """Submit one file in a folder of its own, do it, and return what became of it."""
    folder.mkdir(exist_ok=True)
    batch = submit(it.ledger, folder, data, **{"options": REUSE} | row)
    it.run(it.queue(batch))
    found = only(it.ledger, batch)
    assert found.state == JobState.SUCCEEDED, found.error
    return found


def outcome(job: Job) -> Mapping[str, Any]:
    assert job.outcome is not None
    return job.outcome


def test_an_equal_job_of_a_later_batch_gets_a_copy(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    with real_rig(ledger, settings) as it:
        first = ran(it, tmp_path / "one", seed=42)
        second = ran(it, tmp_path / "two", seed=7)  # nobody chose either

    one, two = (tmp_path / name / "out/result.png" for name in ("one", "two"))
    assert two.read_bytes() == one.read_bytes()
    assert "reused_from" not in outcome(first)
    assert outcome(second)["reused_from"] == str(first.id)
    assert outcome(second)["body"]["image"]["url"] == two.as_uri()
    assert outcome(second)["body"]["seed"] == 42
    (stored,) = outcome(second)["objects"]
    assert stored["etag"] == open_storage(settings).stat(two.as_uri()).etag
    assert set(outcome(second)["timings"]) == {"fetch_s", "store_s"}
    assert codec.read_provenance(two.read_bytes())["job"] == str(first.id)
    with ledger.begin() as session:
        found = batches.progress(session, second.batch_id)
    assert (found.succeeded, found.reused, found.device_s) == (1, 1, 0.0)
    assert found.bytes_out == two.stat().st_size
    (line,) = map(json.loads, results.lines(ledger, second.batch_id))
    assert (line["reused_from"], line["seed"]) == (str(first.id), 42)


def test_the_result_of_an_equal_job_that_lies_in_its_place_already_is_left_there(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    with real_rig(ledger, settings) as it:
        first = ran(it, tmp_path)
        before = (tmp_path / "out/result.png").stat()
        second = ran(it, tmp_path)

    assert outcome(second)["reused_from"] == str(first.id)
    assert (tmp_path / "out/result.png").stat().st_mtime_ns == before.st_mtime_ns
    with ledger.begin() as session:
        assert batches.progress(session, second.batch_id).bytes_out == 0


@pytest.mark.parametrize(
    "other",
    [
        {"arguments": '{"scale": 3}'},
        {"endpoint": "enlarger/compact"},
        {"data": save(make_pixels(30, 20, seed=5), "PNG")},
        {"options": {}},
        {"options": REUSE | {"only_if_absent": True}},
    ],
    ids=["argument", "endpoint", "bytes", "not asked for", "nothing may be replaced"],
)
def test_a_job_that_is_not_equal_is_computed(
    ledger: Ledger, settings: Settings, tmp_path: Path, other: dict[str, Any]
) -> None:
    endpoint = replace(ENDPOINTS[ENDPOINT], id="enlarger/compact")
    with real_rig(ledger, settings, endpoints={**ENDPOINTS, endpoint.id: endpoint}) as it:
        ran(it, tmp_path / "one")
        second = ran(it, tmp_path / "two", **other)

    assert "reused_from" not in outcome(second)


class Telling(LanczosUpscaler):
    """One that has something to say."""

    def upscale(self, picture: Picture, request: LanczosRequest, context: Context) -> Result:
        made = super().upscale(picture, request, context)
        return replace(made, notes={"caption": "an owl"})


def test_what_a_model_said_of_a_result_is_said_of_its_copy(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    telling = replace(ENDPOINTS[ENDPOINT], pipeline=f"{__name__}:Telling")
    with real_rig(ledger, settings, endpoints={ENDPOINT: telling}) as it:
        computed, copied = (ran(it, tmp_path / name) for name in ("one", "two"))

    assert outcome(copied)["reused_from"] == str(computed.id)
    for job in (computed, copied):
        assert outcome(job)["notes"] == {"caption": "an owl"}
        (line,) = map(json.loads, results.lines(ledger, job.batch_id))
        assert line["model_notes"] == {"caption": "an owl"}


def test_nobody_gets_the_result_of_another_owner(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    with real_rig(ledger, settings) as it:
        theirs = ran(it, tmp_path / "one", owner="theirs")
        mine = ran(it, tmp_path / "two", owner="mine")
        again = ran(it, tmp_path / "three", owner="mine")

    assert "reused_from" not in outcome(theirs)
    assert "reused_from" not in outcome(mine)
    assert outcome(again)["reused_from"] == str(mine.id)


@pytest.mark.parametrize("change", ["gone", "replaced"])
def test_a_result_that_is_no_longer_there_is_computed_and_serves_from_then_on(
    ledger: Ledger, settings: Settings, tmp_path: Path, change: str
) -> None:
    with real_rig(ledger, settings) as it:
        ran(it, tmp_path / "one")
        place = tmp_path / "one/out/result.png"
        if change == "gone":
            place.unlink()
        else:
            place.write_bytes(save(make_pixels(60, 40, seed=9), "PNG"))
        second = ran(it, tmp_path / "two")
        third = ran(it, tmp_path / "three")

    assert "reused_from" not in outcome(second)
    assert outcome(third)["reused_from"] == str(second.id)


def test_a_result_in_its_source_s_place_is_computed_since_it_must_name_its_own_job(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    with real_rig(ledger, settings) as it:
        ran(it, tmp_path / "one")
        place = tmp_path / "two/in.png"
        second = ran(
            it, tmp_path / "two", destination=place.as_uri(), options=REUSE | {"in_place": True}
        )

    assert codec.read_provenance(place.read_bytes())["job"] == str(second.id)


@pytest.mark.parametrize("kept", [True, False])
def test_several_images_are_copied_whole_or_computed(
    ledger: Ledger, settings: Settings, tmp_path: Path, kept: bool
) -> None:
    several = replace(ENDPOINTS[ENDPOINT], pipeline="tests.workers.test_workshop:Several")
    with real_rig(ledger, settings, endpoints={ENDPOINT: several}) as it:
        first = ran(it, tmp_path / "one")
        if not kept:
            (tmp_path / "one/out/result/01.png").write_bytes(b"another")
        second = ran(it, tmp_path / "two")

    names = sorted(path.name for path in (tmp_path / "two/out/result").iterdir())
    assert names == ["00.png", "01.png", "strip.png"]
    assert outcome(second).get("reused_from") == (str(first.id) if kept else None)
    assert len(outcome(second)["body"]["images"]) == 2
    assert (
        outcome(second)["body"]["strip"]["url"] == (tmp_path / "two/out/result/strip.png").as_uri()
    )


def test_in_a_bucket_the_store_makes_the_copy(
    ledger: Ledger, settings: Settings, s3_url: str, bucket: str, s3_client: "S3Client"
) -> None:
    settings = settings.model_copy(
        update={"s3_endpoint_url": s3_url, "s3_addressing_style": "path"}
    )
    s3_client.put_object(Bucket=bucket, Key="in.png", Body=PHOTO)
    made = [
        make_batch(
            ledger,
            [make_row(1, source=f"s3://{bucket}/in.png", destination=f"s3://{bucket}/{name}.png")],
            options=json.dumps(REUSE),
        )
        for name in ("one", "two")
    ]

    with real_rig(ledger, settings) as it:
        for batch in made:
            it.run(it.queue(batch))

    assert outcome(only(ledger, made[1]))["reused_from"] == str(job_id(made[0], 1))
    found = open_storage(settings).stat(f"s3://{bucket}/two.png")
    assert found.content_type == "image/png"
    assert found.metadata == {
        "enlarger-job": str(job_id(made[1], 1)),
        "enlarger-batch": str(made[1]),
        "enlarger-endpoint": ENDPOINT,
        "enlarger-reused-from": str(job_id(made[0], 1)),
    }


def test_results_forgotten_for_their_age_are_computed(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    with real_rig(ledger, settings) as it:
        ran(it, tmp_path / "one")
        forgotten = [
            keeping.expire(ledger, settings.model_copy(update={"reuse_s": age_s}))
            for age_s in (3600.0, 0.0)
        ]
        second = ran(it, tmp_path / "two")

    assert forgotten == [0, 1]
    assert "reused_from" not in outcome(second)


def test_a_ledger_that_is_away_costs_a_computation(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    nowhere = SecretStr("postgresql://127.0.0.1:9/enlarger")
    away = Ledger(settings.model_copy(update={"database_url": nowhere}))
    storage = open_storage(settings)
    shortcuts = Shortcuts(away, storage, Storeroom(storage, Lease(60), settings), worker="host:1")
    (queued,) = queue(ledger, submit(ledger, tmp_path, PHOTO, options=REUSE))
    worker = make_worker(ledger)
    with ledger.begin() as session:
        (job,) = jobs.claim(session, [queued.ticket], worker_id=worker, deadline_s=60)

    ending = shortcuts.reused(Life(job, Bundle(1)), bytes(32), OutputFormat.PNG, {})
    away.close()

    assert ending is None


class Borrowing(NoOptions):
    """Choices of an endpoint that uses another one's pipeline."""

    def borrows(self) -> tuple[str, ...]:
        return ("lender",)


def test_other_weights_are_another_recipe_and_their_digests_are_told(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    weighty = replace(
        ENDPOINTS[ENDPOINT],
        weights="tests.workers.manifests:A",
        options="tests.workers.test_reuse:Borrowing",
    )
    lender = replace(ENDPOINTS[ENDPOINT], id="lender", weights="tests.workers.manifests:B")
    folder = tmp_path / "weights"
    (folder / "a").mkdir(parents=True)
    (folder / "b").mkdir()
    found = []
    for number, (own, lent) in enumerate(["xx", "xx", "yx", "yy", "yy"]):
        (folder / "a/model.pth").write_text(own)
        (folder / "b/model.pth").write_text(lent)
        served = {ENDPOINT: weighty, "lender": lender}
        with real_rig(ledger, settings, endpoints=served, weights=folder) as it:
            found.append(ran(it, tmp_path / str(number)))

    x, y = (hashlib.sha256(content).hexdigest() for content in (b"x", b"y"))
    told = [outcome(job)["weights"] for job in found]
    assert told[2] == {"a/model.pth": y, "b/model.pth": x}
    copied = ["reused_from" in outcome(job) for job in found]
    assert copied == [False, True, False, False, True]
    data = (tmp_path / "2/out/result.png").read_bytes()
    assert json.loads(codec.read_provenance(data)["weights"]) == told[2]


def test_a_file_in_a_folder_of_its_own_stands_for_all_that_lies_there(tmp_path: Path) -> None:
    weighty = replace(ENDPOINTS[ENDPOINT], weights=f"{__name__}:IN_FOLDERS")
    for name in ("base/unet/model.pth", "base/text/model.pth", "plain.pth", "other.pth"):
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).write_text(name)
    stock = Stock(endpoints={ENDPOINT: weighty}, folder=tmp_path)

    found = Recipes(stock, Settings()).weights(weighty.pipelines()[0])

    assert list(found) == ["a/base/text/model.pth", "a/base/unet/model.pth", "a/plain.pth"]


IN_FOLDERS = Manifest(
    name="a",
    variants=(
        Variant(
            name="only",
            parts=tuple(
                Part(name=name, files=(File(name=name, repository=None, licence=FREE),))
                for name in ("base/unet/model.pth", "plain.pth")
            ),
        ),
    ),
)
