"""What moto can't show: a store that checks signatures and time, and works for many at once."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import urlopen

import boto3
import pytest

from scheduler import errors
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage
from tests.rgw import Gateway, rgw  # noqa: F401 - a fixture
from tests.scheduler.test_storage_s3 import ODD_KEYS, PART, make_settings, write

AT_ONCE = 8
LIFETIME_S = 2


@pytest.fixture
def settings(rgw: Gateway, monkeypatch: pytest.MonkeyPatch) -> Settings:  # noqa: F811
    """Settings for the gateway, with its user's credentials where boto3 looks for them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rgw.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", rgw.secret_key)
    return make_settings(rgw.url, s3_multipart_bytes=PART, storage_attempts=2)


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return open_storage(settings)


@pytest.fixture
def folder(settings: Settings) -> str:
    """A bucket of the test's own, as an address."""
    name = f"test-{uuid.uuid4().hex}"
    # A session of its own: the default one remembers other credentials.
    client = boto3.session.Session().client("s3", endpoint_url=settings.s3_endpoint_url)
    client.create_bucket(Bucket=name)
    client.close()
    return f"s3://{name}/"


def status(url: str) -> int:
    try:
        with urlopen(url) as answer:
            return int(answer.status)
    except HTTPError as exc:
        return exc.code


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_denied_and_change_nothing(
    storage: Storage, settings: Settings, folder: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    address = f"{folder}a"
    write(storage, address, b"kept")
    monkeypatch.setenv(name, "wrong" * 4)
    stranger = open_storage(settings)

    with pytest.raises(errors.AccessDenied):
        stranger.read(address, max_bytes=9)
    with pytest.raises(errors.AccessDenied):
        write(stranger, address, b"other")
    with pytest.raises(errors.AccessDenied):
        list(stranger.list(folder))
    with pytest.raises(errors.AccessDenied):
        stranger.delete(address)

    assert storage.read(address, max_bytes=9).data == b"kept"


def test_a_presigned_address_is_for_one_object_and_for_its_time(
    storage: Storage, folder: str
) -> None:
    write(storage, f"{folder}a", b"a")
    write(storage, f"{folder}b", b"b")
    url = storage.presigned(
        f"{folder}a", content_type="image/png", disposition="inline", lifetime_s=LIFETIME_S
    )
    assert url is not None

    assert status(url) == 200
    assert status(url.replace("/a?", "/b?")) == 403
    assert status(url.split("?")[0]) == 403
    time.sleep(LIFETIME_S + 1)
    assert status(url) == 403


def test_of_many_writers_at_once_that_ask_for_an_empty_place_one_writes(
    storage: Storage, folder: str
) -> None:
    address = f"{folder}a"

    def attempt(number: int) -> bool:
        try:
            write(storage, address, bytes([number]), only_if_absent=True)
        except errors.ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrote = list(pool.map(attempt, range(2 * AT_ONCE)))

    assert wrote.count(True) == 1
    assert storage.read(address, max_bytes=1).data == bytes([wrote.index(True)])


def test_many_threads_write_and_read_each_its_own(storage: Storage, folder: str) -> None:
    def round_trip(number: int) -> bool:
        data = bytes([number]) * (1000 * number + 1)
        stored = write(storage, f"{folder}{number:03}", data)
        found = storage.read(f"{folder}{number:03}", max_bytes=len(data), etag=stored.etag)
        return found.data == data

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert all(pool.map(round_trip, range(64)))

    listed = [info.address for info in storage.list(folder, after=f"{folder}031")]
    assert listed == [f"{folder}{number:03}" for number in range(32, 64)]


def test_odd_keys_are_written_read_listed_and_deleted_literally(
    storage: Storage, folder: str
) -> None:
    for key in ODD_KEYS:
        write(storage, folder + key, key.encode())

    assert {info.address for info in storage.list(folder)} == {folder + key for key in ODD_KEYS}
    for key in ODD_KEYS:
        assert storage.read(folder + key, max_bytes=1024).data == key.encode()
        storage.delete(folder + key)
    assert list(storage.list(folder)) == []


def test_parts_copies_and_changed_objects_are_as_they_should_be(
    storage: Storage, folder: str
) -> None:
    data = bytes(range(256)) * (PART // 128) + b"rest"

    known = write(storage, f"{folder}a", data)
    copied = storage.copy(f"{folder}a", f"{folder}b", known=known, content_type="x/y")
    assert copied.size == len(data)
    assert storage.read(f"{folder}b", max_bytes=len(data)).data == data

    write(storage, f"{folder}a", b"other")
    with pytest.raises(errors.ObjectChanged):
        storage.read(f"{folder}a", max_bytes=9, etag=known.etag)
    with pytest.raises(errors.ObjectChanged):
        storage.copy(f"{folder}a", f"{folder}c", known=known, content_type="x/y")


@pytest.mark.parametrize("size", [5, PART + 7], ids=["whole", "stored in parts"])
def test_the_gateway_copies_what_was_stored_and_nothing_else(
    storage: Storage, folder: str, size: int
) -> None:
    source = f"{folder}a b+ü"
    known = write(storage, source, bytes(size), metadata={"job": "1"})

    storage.copy(
        source, f"{folder}b", known=known, content_type="image/webp", metadata={"job": "2"}
    )
    write(storage, source, b"x" * size)
    with pytest.raises(errors.ObjectChanged):
        storage.copy(source, f"{folder}c", known=known, content_type="image/webp")

    found = storage.stat(f"{folder}b")
    assert storage.read(f"{folder}b", max_bytes=size).data == bytes(size)
    assert (found.content_type, found.metadata) == ("image/webp", {"job": "2"})
