import hashlib
import threading
import uuid
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler import errors
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage

# Without a line feed, which moto's router takes for the end of the path.
KEYS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\n"), min_size=1, max_size=30
)
ODD_KEYS = [
    "a b+c",
    "q?x=1&y#z%20",
    "a//b",
    "/leading",
    "trailing/",
    "..",
    "a/../b",
    "./a",
    "100%",
    "%2e",
    "\U0001f600/\u00e9",
    "k" * 1024,
]
PART = 5 * 2**20


def make_settings(s3_url: str, **overrides) -> Settings:
    return Settings(s3_endpoint_url=s3_url, s3_addressing_style="path", **overrides)


@pytest.fixture
def storage(s3_url: str) -> Storage:
    return open_storage(make_settings(s3_url))


def write(storage: Storage, address: str, data: bytes = b"x", **overrides):
    return storage.write(address, data, **({"content_type": "image/png"} | overrides))


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_odd_key_is_written_read_listed_and_deleted_literally(storage, bucket, s3_client, key):
    address = f"s3://{bucket}/{key}"

    write(storage, address, b"bytes")

    assert s3_client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"bytes"
    assert storage.read(address, max_bytes=5).data == b"bytes"
    assert [info.address for info in storage.list(f"s3://{bucket}/")] == [address]
    storage.delete(address)
    assert list(storage.list(f"s3://{bucket}/")) == []


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(key=KEYS)
def test_any_unicode_key_round_trips(storage, bucket, key):
    address = f"s3://{bucket}/{key}"
    data = uuid.uuid4().bytes

    write(storage, address, data)

    assert storage.read(address, max_bytes=16).data == data
    assert address in [info.address for info in storage.list(address)]
    storage.delete(address)


def test_an_object_keeps_its_content_type_and_metadata(storage, bucket):
    address = f"s3://{bucket}/a"
    metadata = {"endpoint": "enlarger/lanczos", "note": "  100% \u00e9\nA  B \U0001f600 "}

    stored = write(storage, address, b"12", content_type="image/webp", metadata=metadata)

    info = storage.stat(address)
    assert (info.address, info.size, info.content_type) == (address, 2, "image/webp")
    assert info.metadata == metadata
    assert info.etag == stored.etag == hashlib.md5(b"12").hexdigest()
    assert info.version is None
    assert info.modified.tzinfo is not None
    assert stored.checksum == f"crc32:{zlib.crc32(b'12'):08x}"
    assert storage.read(address, max_bytes=2).content_type == "image/webp"


def test_metadata_that_finds_no_room_is_left_out_whole_and_named(storage, bucket):
    address = f"s3://{bucket}/a"

    write(storage, address, metadata={"job": "1", "prompt": "p" * 5000, "seed": "7"})

    assert storage.stat(address).metadata == {"job": "1", "seed": "7", "omitted": "prompt"}


def test_what_is_not_there_is_missing(storage, bucket):
    for address in (f"s3://{bucket}/none", f"s3://none-{uuid.uuid4().hex}/a", f"s3://{bucket}"):
        with pytest.raises(errors.ObjectMissing):
            storage.read(address, max_bytes=1)
        with pytest.raises(errors.ObjectMissing):
            storage.stat(address)
        with pytest.raises(errors.ObjectMissing):
            storage.open(address)
    with pytest.raises(errors.ObjectMissing, match="no such bucket"):
        list(storage.list(f"s3://none-{uuid.uuid4().hex}/"))


def test_more_bytes_than_the_limit_are_not_read(storage, bucket):
    write(storage, f"s3://{bucket}/a", b"12345")

    with pytest.raises(errors.ObjectTooLarge, match="5 bytes are too many; the limit is 4"):
        storage.read(f"s3://{bucket}/a", max_bytes=4)


def test_an_empty_object_is_read_as_such(storage, bucket):
    write(storage, f"s3://{bucket}/a", b"")

    assert storage.read(f"s3://{bucket}/a", max_bytes=0).data == b""


def test_an_old_version_can_be_read(storage, bucket, s3_client):
    s3_client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    address = f"s3://{bucket}/a"
    write(storage, address, b"old")
    old = storage.stat(address)
    write(storage, address, b"newer")

    assert old.version is not None
    blob = storage.read(address, max_bytes=9, version=old.version)
    assert (blob.data, blob.version) == (b"old", old.version)
    assert storage.stat(address, version=old.version).size == 3
    with storage.open(address, version=old.version) as stream:
        assert stream.read() == b"old"
    assert storage.read(address, max_bytes=9).data == b"newer"
    with pytest.raises(errors.ObjectMissing):
        storage.read(address, max_bytes=9, version=str(uuid.uuid4()))


def test_other_bytes_than_those_asked_for_are_refused(storage, bucket):
    address = f"s3://{bucket}/a"
    etag = write(storage, address, b"old").etag
    write(storage, address, b"new")

    with pytest.raises(errors.ObjectChanged, match="submit it again"):
        storage.read(address, max_bytes=9, etag=etag)
    with pytest.raises(errors.ObjectChanged):
        storage.open(address, start=1, etag=etag)


def test_a_stream_begins_where_it_is_told_and_yields_lines(storage, bucket):
    address = f"s3://{bucket}/a"
    write(storage, address, b"one\ntwo\nthree")

    with storage.open(address, start=4) as stream:
        assert list(stream) == [b"two\n", b"three"]
    with storage.open(address, start=13) as stream:
        assert stream.read() == b""


def test_only_if_absent_keeps_what_is_there(storage, bucket):
    address = f"s3://{bucket}/a"
    write(storage, address, b"first", only_if_absent=True)

    with pytest.raises(errors.ObjectExists):
        write(storage, address, b"second", only_if_absent=True)

    assert storage.read(address, max_bytes=9).data == b"first"


@pytest.mark.parametrize("checksums", ["when_supported", "when_required"])
def test_a_large_object_is_written_in_parts(s3_url, bucket, s3_client, tmp_path, checksums):
    storage = open_storage(make_settings(s3_url, s3_multipart_bytes=PART, s3_checksums=checksums))
    data = bytes(range(256)) * (2 * PART // 256) + b"rest"
    (tmp_path / "file").write_bytes(data)

    stored = write(storage, f"s3://{bucket}/a", data, metadata={"k": "v"}, content_type="x/y")
    filed = storage.write_file(f"s3://{bucket}/b", tmp_path / "file", content_type="x/y")

    assert stored.checksum == filed.checksum == f"crc32:{zlib.crc32(data):08x}"
    assert (stored.size, filed.size) == (len(data), len(data))
    info = storage.stat(f"s3://{bucket}/a")
    assert (info.etag, info.metadata, info.content_type) == (stored.etag, {"k": "v"}, "x/y")
    assert info.etag.endswith("-3")
    assert storage.read(f"s3://{bucket}/a", max_bytes=len(data)).data == data
    assert storage.read(f"s3://{bucket}/b", max_bytes=len(data)).data == data
    assert s3_client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_a_large_object_replaces_nothing_when_asked_and_leaves_no_parts(s3_url, bucket, s3_client):
    storage = open_storage(make_settings(s3_url, s3_multipart_bytes=PART))
    write(storage, f"s3://{bucket}/a", b"first")

    with pytest.raises(errors.ObjectExists):
        write(storage, f"s3://{bucket}/a", bytes(PART + 1), only_if_absent=True)

    assert storage.read(f"s3://{bucket}/a", max_bytes=5).data == b"first"
    assert s3_client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_a_small_file_is_written_at_once_and_without_checksums_by_its_md5(s3_url, bucket, tmp_path):
    storage = open_storage(make_settings(s3_url, s3_checksums="when_required"))
    (tmp_path / "file").write_bytes(b"text")

    stored = storage.write_file(f"s3://{bucket}/a", tmp_path / "file", content_type="x/y")

    assert stored.etag == hashlib.md5(b"text").hexdigest()
    assert storage.read(f"s3://{bucket}/a", max_bytes=4).data == b"text"


def test_what_is_written_is_encrypted_as_the_settings_say(s3_url, bucket, s3_client):
    key = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
    kms = open_storage(
        make_settings(s3_url, s3_sse="aws:kms", s3_sse_kms_key_id=key, s3_multipart_bytes=PART)
    )
    aes = open_storage(make_settings(s3_url, s3_sse="AES256"))

    write(kms, f"s3://{bucket}/kms")
    write(kms, f"s3://{bucket}/kms parts", bytes(PART + 1))
    write(aes, f"s3://{bucket}/aes")

    for name in ("kms", "kms parts"):
        head = s3_client.head_object(Bucket=bucket, Key=name)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
    assert s3_client.head_object(Bucket=bucket, Key="aes")["ServerSideEncryption"] == "AES256"


def test_a_listing_is_in_byte_order_over_pages_and_goes_on_behind_any_key(
    storage, bucket, s3_client
):
    keys = sorted(["a/x", "a-b", "a0", "B", "é", "z"] + [f"n{n:04}" for n in range(1100)])
    for key in keys:
        s3_client.put_object(Bucket=bucket, Key=key)

    found = [info.address for info in storage.list(f"s3://{bucket}/")]

    assert found == [f"s3://{bucket}/{key}" for key in keys]
    for index in (0, 2, 999, 1000, len(keys) - 1):
        rest = storage.list(f"s3://{bucket}/", after=found[index])
        assert [info.address for info in rest] == found[index + 1 :]


def test_a_prefix_is_literal(storage, bucket):
    for key in ("a/b", "a/bc", "a/d", "b"):
        write(storage, f"s3://{bucket}/{key}")

    found = [info.address for info in storage.list(f"s3://{bucket}/a/b")]

    assert found == [f"s3://{bucket}/a/b", f"s3://{bucket}/a/bc"]


def test_a_writable_prefix_is_left_empty_by_the_check(storage, bucket):
    storage.check_writable(f"s3://{bucket}/out")

    assert list(storage.list(f"s3://{bucket}/")) == []


def test_a_bucket_that_is_not_there_is_no_destination(storage):
    with pytest.raises(errors.DestinationUnwritable, match=r"no such bucket.*another destination"):
        storage.check_writable(f"s3://none-{uuid.uuid4().hex}/out/")


def test_an_archived_object_says_that_it_must_be_restored(storage, bucket, s3_client):
    s3_client.put_object(Bucket=bucket, Key="a", Body=b"x", StorageClass="GLACIER")

    with pytest.raises(errors.StorageRefused, match="restore the object first"):
        storage.read(f"s3://{bucket}/a", max_bytes=1)


def test_without_credentials_the_error_says_where_to_put_them(s3_url, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    storage = open_storage(make_settings(s3_url))

    with pytest.raises(errors.AccessDenied, match="set AWS_ACCESS_KEY_ID"):
        storage.read("s3://bucket/key", max_bytes=1)


def test_an_endpoint_that_is_no_url_is_a_wrong_setting():
    with pytest.raises(errors.SettingsInvalid, match="s3_endpoint_url"):
        open_storage(make_settings("not a url")).stat("s3://bucket/key")


def test_many_threads_share_one_storage(storage, bucket):
    def work(number: int) -> None:
        for _ in range(5):
            write(storage, f"s3://{bucket}/{number}", b"%d" % number)
            assert storage.read(f"s3://{bucket}/{number}", max_bytes=9).data == b"%d" % number
            done.append(number)

    done: list[int] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(done) == 40


def test_secrets_are_in_no_representation(s3_url, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    storage = open_storage(make_settings(s3_url))
    with pytest.raises(errors.ObjectMissing) as caught:
        storage.read(f"s3://none-{uuid.uuid4().hex}/a", max_bytes=1)

    assert "hush" not in repr(storage) + repr(vars(storage)) + str(caught.value)


@pytest.mark.parametrize("checksums", ["when_supported", "when_required"])
@pytest.mark.parametrize("size", [5, PART + 7], ids=["whole", "stored in parts"])
def test_the_store_copies_what_was_written_before(s3_url, bucket, checksums, size):
    settings = make_settings(s3_url, s3_checksums=checksums, s3_multipart_bytes=PART)
    storage = open_storage(settings)
    known = write(storage, f"s3://{bucket}/a b+ü", bytes(size), metadata={"job": "1"})

    copied = storage.copy(
        f"s3://{bucket}/a b+ü",
        f"s3://{bucket}/b",
        known=known,
        content_type="image/webp",
        metadata={"job": "2"},
    )

    found = storage.stat(f"s3://{bucket}/b")
    assert (copied.size, copied.checksum, copied.etag) == (size, known.checksum, found.etag)
    assert (found.size, found.content_type, found.metadata) == (size, "image/webp", {"job": "2"})


def test_what_was_replaced_since_is_not_taken_for_what_was_written(storage, bucket):
    known = write(storage, f"s3://{bucket}/a", b"result")
    write(storage, f"s3://{bucket}/a", b"tluser")

    with pytest.raises(errors.ObjectChanged):
        storage.copy(f"s3://{bucket}/a", f"s3://{bucket}/b", known=known, content_type="x/y")
    storage.delete(f"s3://{bucket}/a")
    with pytest.raises(errors.ObjectMissing):
        storage.copy(f"s3://{bucket}/a", f"s3://{bucket}/b", known=known, content_type="x/y")


def test_no_store_copies_from_another_kind(storage, bucket, tmp_path):
    known = write(storage, f"s3://{bucket}/a", b"result")

    with pytest.raises(errors.StorageRefused, match="no store copies"):
        storage.copy(f"s3://{bucket}/a", f"{tmp_path.as_uri()}/b", known=known, content_type="x/y")


def test_a_bucket_is_made_once(storage):
    name = f"made-{uuid.uuid4().hex}"

    made = [storage.make_bucket(name), storage.make_bucket(name)]

    assert made == [True, False]
    storage.check_writable(f"s3://{name}/")


def test_a_bucket_with_an_impossible_name_is_refused_by_name(storage):
    with pytest.raises(errors.AddressInvalid, match="'no name' is no bucket name"):
        storage.make_bucket("no name")
