"""Files that clients hand in, on a real ledger and real stores."""

import hashlib
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from scheduler.children import Child, Supervisor
from scheduler.embedded.system import environment
from scheduler.errors import (
    AddressSecretWrong,
    FileMissing,
    FileRefused,
    ObjectMissing,
    ObjectTooLarge,
    ResultForgotten,
    StorageUnavailable,
)
from scheduler.files import data_uri
from scheduler.files.intake import Intake
from scheduler.files.names import disposition, safe_name, safe_type
from scheduler.files.published import Publisher
from scheduler.files.purge import Purger
from scheduler.files.room import PART_BYTES, Draft, FileRoom, Part
from scheduler.files.signing import SEALED, Signer
from scheduler.ledger import files
from scheduler.ledger.files import HostedFile, Leftover
from scheduler.ledger.periods import job_id
from scheduler.ledger.session import Ledger, database_time
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage
from tests.factories import make_batch
from tests.processes import eventually

BASE = "https://enlarger.example/cdn"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


@dataclass(frozen=True, kw_only=True)
class House:
    """Everything about files, around one store."""

    ledger: Ledger
    settings: Settings
    storage: Storage
    room: FileRoom
    publisher: Publisher
    purger: Purger

    def take(self, data: bytes = b"abc", name: str = "a.png") -> HostedFile:
        return self.room.take(data, owner="ann", name=name, content_type="image/png")

    def expire(self, *found: HostedFile) -> None:
        with self.ledger.begin() as session:
            session.execute(
                text("update files set expires_at = now() where id = any(:ids)"),
                {"ids": [file.id for file in found]},
            )

    def has(self, address: str) -> bool:
        try:
            self.storage.stat(address)
        except ObjectMissing:
            return False
        return True


def make_house(ledger: Ledger, settings: Settings, root: str) -> House:
    changed = settings.model_copy(
        update={"files": root, "secret_key": SecretStr("k" * 32), "max_upload_bytes": 40_000_000}
    )
    storage = open_storage(changed)
    room = FileRoom(ledger, storage, changed)
    return House(
        ledger=ledger,
        settings=changed,
        storage=storage,
        room=room,
        publisher=Publisher(ledger, storage, room),
        purger=Purger(ledger, changed),
    )


@pytest.fixture
def house(ledger: Ledger, settings: Settings, tmp_path: Path) -> House:
    return make_house(ledger, settings, (tmp_path / "files").as_uri())


def test_bytes_are_shared_by_files_and_go_with_the_last_of_them(
    ledger: Ledger, settings: Settings, s3_url: str, bucket: str
) -> None:
    on_s3 = settings.model_copy(update={"s3_endpoint_url": s3_url})
    house = make_house(ledger, on_s3, f"s3://{bucket}/files/")
    first, second = house.take(), house.take(name="b.png")
    blob = house.room.blob(hashlib.sha256(b"abc").hexdigest())
    house.expire(first)
    house.purger.step()

    kept = house.publisher.find(house.room.path(second))
    assert (kept.address, kept.name) == (blob, "b.png")
    assert house.storage.read(blob, max_bytes=9).data == b"abc"
    with pytest.raises(FileMissing):
        house.publisher.find(house.room.path(first))

    house.expire(second)
    house.purger.step()
    assert not house.has(blob)


def test_what_the_store_does_not_confirm_stays_due(
    house: House, ledger: Ledger, settings: Settings
) -> None:
    file = house.take()
    house.expire(file)
    away = settings.model_copy(
        update={"s3_endpoint_url": "http://127.0.0.1:9", "storage_attempts": 1}
    )
    elsewhere = make_house(ledger, away, "s3://bucket/files/")

    with pytest.raises(StorageUnavailable):
        elsewhere.purger.step()
    with ledger.begin() as session:
        assert session.scalar(text("select count(*) from files")) == 1
    house.purger.step()
    with ledger.begin() as session:
        assert session.scalar(text("select count(*) from files")) == 0


def test_bytes_never_go_while_a_file_with_them_comes(house: House) -> None:
    stop = threading.Event()

    def purge() -> None:
        while not stop.is_set():
            house.purger.step()

    purging = threading.Thread(target=purge)
    purging.start()
    try:
        for _ in range(40):
            file = house.take()
            assert house.has(house.publisher.find(house.room.path(file)).address)
            house.expire(file)
    finally:
        stop.set()
        purging.join()


def test_an_address_is_good_for_its_own_file_alone(house: House) -> None:
    mine, theirs = house.take(b"mine"), house.take(b"theirs")
    _, _, _, mark, name = house.room.path(mine).split("/")
    upload = house.room.upload_mark(mine.id)

    for altered in (
        f"/files/{theirs.id}/{mark}/{name}",
        f"/files/{mine.id}/{mark[:-1]}/{name}",
        f"/files/{mine.id}/{mark.swapcase()}/{name}",
        f"/files/{mine.id}/{upload}/{name}",
    ):
        with pytest.raises(AddressSecretWrong):
            house.publisher.find(altered)
    for none in ("/files", f"/files/{mine.id}/{mark}/../{name}", "/files/../../etc/passwd"):
        with pytest.raises(FileMissing):
            house.publisher.find(none)


def test_parts_are_joined_by_their_numbers_whatever_order_they_are_listed_in(house: House) -> None:
    file = house.room.announce(owner="ann", name="big.bin", content_type=None)
    with pytest.raises(FileMissing):
        house.publisher.find(house.room.path(file))
    etags = {number: house.room.keep_part(file, number, bytes([number]) * 5) for number in (2, 1)}
    listed = [Part(number=number, etag=f'"{etags[number]}"') for number in (2, 1)]

    for wrong in (
        [],
        [*listed, listed[0]],
        [*listed, Part(number=3, etag="0")],
        [Part(number=1, etag=etags[2])],
    ):
        with pytest.raises(FileRefused):
            house.room.join(file, wrong)
    kept = house.room.join(file, listed)

    public = house.publisher.find(house.room.path(kept))
    assert house.storage.read(public.address, max_bytes=99).data == b"\1" * 5 + b"\2" * 5
    assert not house.has(house.room.part(file.id, 1))
    assert house.room.join(kept, listed) == kept, "the answer was lost, and it is asked again"


def test_an_upload_that_is_never_finished_goes_after_a_day(house: House) -> None:
    begun, fresh = (house.room.announce(owner="ann", name="a", content_type=None) for _ in range(2))
    for file in (begun, fresh):
        house.room.keep_part(file, 1, b"x")
    with house.ledger.begin() as session:
        session.execute(
            text("update files set created_at = now() - interval '25 hours' where id = :id"),
            {"id": begun.id},
        )

    house.purger.step()

    assert not house.has(house.room.part(begun.id, 1))
    assert house.has(house.room.part(fresh.id, 1))
    with pytest.raises(FileMissing):
        house.room.writable(begun.id, house.room.upload_mark(begun.id))


def test_an_upload_is_never_more_than_the_limit_and_never_replaced(house: House) -> None:
    file = house.room.announce(owner="ann", name="a", content_type=None)
    with pytest.raises(ObjectTooLarge, match="40,000,000"):
        house.room.keep_part(file, 5, b"x")
    with pytest.raises(ObjectTooLarge, match="part 1"):
        house.room.keep_part(file, 1, bytes(PART_BYTES + 1))
    with house.room.draft() as draft, pytest.raises(ObjectTooLarge, match="40,000,000"):
        draft.write(bytes(40_000_001))
    with house.room.draft() as empty, pytest.raises(FileRefused, match="empty"):
        house.room.keep(file, empty)

    for data in (b"first", b"first"):
        with house.room.draft() as draft:
            draft.write(data)
            house.room.keep(file, draft)
    with house.room.draft() as other:
        other.write(b"second")
        with pytest.raises(FileRefused, match="already"):
            house.room.keep(file, other)


def test_a_full_disk_is_no_bug_and_no_fault_of_the_client() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        draft = Draft(file=full, max_bytes=100)
        with pytest.raises(StorageUnavailable, match="TMPDIR"):
            draft.write(b"abc")


def test_a_token_ends_and_is_good_for_its_owner_alone() -> None:
    signer = Signer(key=b"k" * 32)
    token = signer.token("ann", until=NOW + timedelta(hours=1))
    claim, _, mark = token.partition(".")
    other = signer.token("bob", until=NOW + timedelta(hours=1))

    assert signer.owner(token, now=NOW) == "ann"
    for wrong in (token + "x", other.partition(".")[0] + "." + mark, claim, "", "é.ü"):
        with pytest.raises(AddressSecretWrong):
            signer.owner(wrong, now=NOW)
    with pytest.raises(AddressSecretWrong, match="time is over"):
        signer.owner(token, now=NOW + timedelta(hours=2))


@pytest.mark.parametrize(
    ("uri", "content_type", "data"),
    [
        (DOT, "image/gif", b"GIF89a\1\0\1\0\0\0\0,"),
        ("data:,a%20b", "application/octet-stream", b"a b"),
        ("DATA:image/png;charset=x;base64,YWI", "image/png", b"ab"),
        ("data:image/png;base64,YWI%3D", "image/png", b"ab"),
        ("data:<script>;base64,YWI=", "application/octet-stream", b"ab"),
    ],
)
def test_a_data_uri_is_read(uri: str, content_type: str, data: bytes) -> None:
    found = data_uri.parse(uri, field="image_url", max_bytes=16)

    assert (found.content_type, found.data) == (content_type, data)


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("data:image/png;base64", FileRefused),
        ("data:image/png;base64,", FileRefused),
        ("data:image/png;base64,é", FileRefused),
        ("data:image/png;base64,a*b=", FileRefused),
        ("data:image/png;base64,Y", FileRefused),
        ("data:image/png;base64," + "YWJj" * 6, ObjectTooLarge),
        ("data:," + "a" * 17, ObjectTooLarge),
    ],
)
def test_a_bad_data_uri_names_its_field(uri: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="image_url: ") as raised:
        data_uri.parse(uri, field="image_url", max_bytes=16)
    assert getattr(raised.value, "field", None) == "image_url"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photo.png", "photo.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\boot.ini", "boot.ini"),
        ("a\r\nSet-Cookie: x=1.png", "a__Set-Cookie_ x=1.png"),
        ("..", "file.png"),
        ("", "file.png"),
        ("ünï 写真.png", "ünï 写真.png"),
        ("photo\u202egnp.exe", "photo_gnp.exe"),
        ("x" * 300 + ".png", "x" * 180 + ".png"),
    ],
)
def test_a_name_is_made_safe(name: str, safe: str) -> None:
    assert safe_name(name, content_type="image/png") == safe


def test_only_pictures_are_shown_and_no_name_breaks_a_header() -> None:
    assert disposition('写".png', "image/png").startswith('inline; filename="__.png"; filename*=')
    assert disposition("page.html", "text/html").startswith("attachment; ")
    assert safe_type("text/html; charset=x") == "text/html"
    assert safe_type("text/html\r\nX: y") == safe_type(None) == "application/octet-stream"


def make_intake(house: House) -> Intake:
    return Intake(house.room, house.publisher, max_bytes=1000)


def test_files_of_a_request_become_addresses_that_a_worker_can_read(house: House) -> None:
    intake = make_intake(house)
    hosted = house.take()

    def taken(url: Any) -> Any:
        found = intake.take_in("enlarger/lanczos", {"image_url": url}, owner="ann", bases=[BASE])
        return found.arguments["image_url"]

    assert taken("https://example.com/a.png") == "https://example.com/a.png"
    assert house.storage.read(taken(DOT), max_bytes=99).data.startswith(b"GIF89a")
    assert house.storage.read(taken(BASE + house.room.path(hosted)), max_bytes=9).data == b"abc"
    assert taken(7) == 7, "of the wrong type: the schema says so better"
    for refused in ("s3://bucket/key", "file:///etc/passwd", "owner/model", "", "ftp://x/y"):
        with pytest.raises(FileRefused, match="image_url: "):
            taken(refused)
    with pytest.raises(AddressSecretWrong):
        taken(BASE + house.room.path(hosted).replace(hosted.id.hex[:8], "0" * 8, 1))


def make_result(
    house: House, *, transient: bool = False, sealed: bool = False, lifetime_s: float = 60.0
) -> tuple[UUID, dict[str, Any], Leftover]:
    """Make a succeeded job whose result lies in the room."""
    id_ = job_id(make_batch(house.ledger, 1), 1)
    folder = house.room.result_folder()
    data = house.room.signer.seal(b"picture", place=str(id_)) if sealed else b"picture"
    house.storage.write(f"{folder}a.png", data, content_type="image/png")
    image = {"url": f"{folder}a.png", "file_name": "a.png"}
    stored = {"address": f"{folder}a.png", "content_type": "image/png", "size_bytes": 7}
    outcome = {"objects": [stored | ({SEALED: True} if sealed else {})], "body": {"image": image}}
    source = house.take(b"source" + id_.bytes)
    with house.ledger.begin() as session:
        leftover = Leftover(
            job_id=id_,
            folder=folder,
            inputs=(source.id,),
            transient=transient,
            expires_at=database_time(session) + timedelta(seconds=lifetime_s),
        )
        files.leave(session, [leftover])
        session.execute(
            text(
                "update jobs set state = 'succeeded', ended_at = now(),"
                " outcome = cast(:outcome as jsonb), arguments = cast(:arguments as jsonb)"
                " where id = :id"
            ),
            {"id": id_, "arguments": '{"prompt": "secret"}', "outcome": json.dumps(outcome)},
        )
    return id_, outcome, leftover


def test_a_result_has_one_public_address_until_its_time_is_over(house: House) -> None:
    id_, outcome, leftover = make_result(house)
    url = house.publisher.body(id_, outcome, base=BASE)["image"]["url"]
    path = url.removeprefix(BASE)

    assert url == house.publisher.body(id_, outcome, base=BASE)["image"]["url"]
    assert house.publisher.find(path).address == outcome["objects"][0]["address"]
    with pytest.raises(AddressSecretWrong):
        house.publisher.find(path.replace("/0/", "/1/", 1))
    with house.ledger.begin() as session:
        session.execute(text("update outputs set expires_at = now()"))
    with pytest.raises(FileMissing):
        house.publisher.find(path)
    house.purger.step()
    assert not house.has(f"{leftover.folder}a.png")
    assert not Path(leftover.folder.removeprefix("file://")).exists()


def deliver(house: House, id_: UUID) -> None:
    with house.ledger.begin() as session:
        files.deliver(session, id_)


def wait_an_hour(house: House, id_: UUID) -> None:
    with house.ledger.begin() as session:
        session.execute(
            text("update jobs set ended_at = now() - interval '61 min' where id = :id"), {"id": id_}
        )


@pytest.mark.parametrize("end", [deliver, wait_an_hour])
def test_a_transient_result_is_sealed_and_goes_once_delivered_or_after_an_hour(
    house: House, end: Callable[[House, UUID], None]
) -> None:
    id_, outcome, leftover = make_result(house, transient=True, sealed=True)
    url = house.publisher.body(id_, outcome, base=BASE)["image"]["url"]
    house.purger.step()
    address = f"{leftover.folder}a.png"

    assert url == "data:image/png;base64,cGljdHVyZQ=="
    assert b"picture" not in house.storage.read(address, max_bytes=99).data
    end(house, id_)
    house.purger.step()
    house.purger.step()  # its inputs, whose time ended with it

    assert not house.has(address)
    assert not house.has(house.room.blob(hashlib.sha256(b"source" + id_.bytes).hexdigest()))
    with house.ledger.begin() as session:
        row = session.execute(
            text("select arguments, outcome, source from jobs where id = :id"), {"id": id_}
        ).one()
    assert (row.arguments, row.outcome) == ({}, {"forgotten": True})
    with pytest.raises(ResultForgotten):
        house.publisher.body(id_, row.outcome, base=BASE)


def test_a_running_scheduler_deletes_what_is_due(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    house = make_house(ledger, settings, (tmp_path / "files").as_uri())
    file, kept = house.take(), house.take(b"kept", name="b.png")
    blob, other = (house.room.blob(str(each.digest)) for each in (file, kept))
    house.expire(file)
    scheduler = Child(
        name="scheduler",
        command=(sys.executable, "-P", "-m", "scheduler.cli", "scheduler"),
        env=environment(Settings(**house.settings.model_dump(exclude_unset=True))),
        log=tmp_path / "scheduler.log",
    )

    with Supervisor() as supervisor:
        supervisor.start(scheduler)
        eventually(lambda: not house.has(blob), within_s=30)

    assert house.has(other)
