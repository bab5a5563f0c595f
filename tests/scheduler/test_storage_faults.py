"""Stores that answer 503, hang, hang up half-way, lie about what they hold, or aren't there."""

import io
import socket
import time
import tracemalloc
import zlib
from functools import partial
from xml.sax.saxutils import escape

import pytest
from botocore.response import StreamingBody
from urllib3.exceptions import SSLError

from models.errors import Kind
from scheduler import errors
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage, parse_address
from scheduler.storage.objects import Stored
from scheduler.storage.s3_body import S3Body
from tests.faulty_http import Faulty, Request, faulty_http

BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your rate</Message></Error>"
DATA = b"".join(b"line %07d\n" % number for number in range(200_000))


def make_storage(url: str, **overrides) -> Storage:
    values = {"storage_timeout_s": 0.3, "storage_attempts": 2} | overrides
    return open_storage(Settings(s3_endpoint_url=url, s3_addressing_style="path", **values))


def use(storage: Storage, call: str) -> None:
    """Make one call of each sort."""
    if call == "read":
        storage.read("s3://bucket/key", max_bytes=10**9)
    elif call == "open":
        with storage.open("s3://bucket/key") as stream:
            stream.read()
    elif call == "write":
        storage.write("s3://bucket/key", b"x", content_type="x/y")
    elif call == "list":
        list(storage.list("s3://bucket/"))
    else:
        storage.check_writable("s3://bucket/")


CALLS = ("read", "open", "write", "list", "check")


@pytest.mark.parametrize("call", CALLS)
def test_a_busy_store_is_unavailable_after_the_attempts_that_the_settings_allow(call):
    with faulty_http(lambda request, _: request.answer(503, BUSY)) as faulty:
        with pytest.raises(errors.StorageUnavailable, match="SlowDown") as caught:
            use(make_storage(faulty.url), call)

        assert len(faulty.requests) == 2
        assert caught.value.kind is Kind.WORLD


@pytest.mark.parametrize("call", CALLS)
def test_a_store_that_hangs_is_unavailable_in_bounded_time(call):
    with faulty_http(lambda _, faulty: faulty.ending.wait(30)) as faulty:
        began = time.monotonic()

        with pytest.raises(errors.StorageUnavailable):
            use(make_storage(faulty.url), call)

        assert time.monotonic() - began < 8


def test_a_store_that_hangs_in_the_middle_of_an_object_is_unavailable_in_bounded_time():
    def answer(request: Request, faulty: Faulty) -> None:
        request.handler.send_response(200)
        request.handler.send_header("Content-Length", "10")
        request.handler.send_header("ETag", '"one"')
        request.handler.end_headers()
        faulty.ending.wait(30)

    with faulty_http(answer) as faulty:
        began = time.monotonic()

        with pytest.raises(errors.StorageUnavailable):
            use(make_storage(faulty.url), "read")

        assert time.monotonic() - began < 8


def test_a_store_that_is_not_there_is_unavailable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # Bound, but nobody listens.
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"

        with pytest.raises(errors.StorageUnavailable):
            use(make_storage(url), "read")


def test_a_server_that_does_not_speak_s3_is_named_by_its_setting():
    with (
        faulty_http(lambda request, _: request.answer(200, b"<html>Hello")) as faulty,
        pytest.raises(errors.StorageRefused, match="S3_ENDPOINT_URL"),
    ):
        make_storage(faulty.url).stat("s3://bucket/key")


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "AccessDenied", errors.AccessDenied),
        (403, "SignatureDoesNotMatch", errors.AccessDenied),
        (400, "ExpiredToken", errors.AccessDenied),
        (403, "InvalidObjectState", errors.StorageRefused),
        (404, "NoSuchKey", errors.ObjectMissing),
        (404, "NoSuchBucket", errors.ObjectMissing),
        (404, "NoSuchVersion", errors.ObjectMissing),
        (412, "PreconditionFailed", errors.ObjectChanged),
        (400, "KeyTooLongError", errors.AddressInvalid),
        (501, "NotImplemented", errors.StorageRefused),
        (500, "InternalError", errors.StorageUnavailable),
        (409, "OperationAborted", errors.StorageUnavailable),
        (429, "TooManyRequests", errors.StorageUnavailable),
        (400, "RequestTimeout", errors.StorageUnavailable),
        (400, "BadDigest", errors.StorageUnavailable),
        (400, "IncompleteBody", errors.StorageUnavailable),
        (404, "NoSuchUpload", errors.StorageUnavailable),
        (507, "XMinioStorageFull", errors.StorageUnavailable),
    ],
)
def test_every_answer_has_its_kind(status, code, error):
    body = f"<Error><Code>{code}</Code><Message>said</Message></Error>".encode()
    with (
        faulty_http(lambda request, _: request.answer(status, body)) as faulty,
        pytest.raises(error, match="s3://bucket/key"),
    ):
        use(make_storage(faulty.url, storage_attempts=1), "read")


def test_a_forbidden_destination_is_unwritable():
    body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    with (
        faulty_http(lambda request, _: request.answer(403, body)) as faulty,
        pytest.raises(errors.DestinationUnwritable, match="allow"),
    ):
        use(make_storage(faulty.url), "check")


def test_credentials_that_write_but_never_delete_are_enough_for_a_destination():
    def answer(request: Request, _: Faulty) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        if request.method == "DELETE":
            request.answer(403, body)
        else:
            request.answer(200, ETag='"x"', x_amz_checksum_crc32=request.handler.headers[CRC])

    with faulty_http(answer) as faulty:
        use(make_storage(faulty.url), "check")

        assert [method for method, _ in faulty.requests] == ["PUT", "DELETE"]


def test_a_stream_goes_on_where_its_connection_broke():
    def answer(request: Request, _: Faulty) -> None:
        request.answer_range(DATA, cut_at=700_001 if request.number <= 3 else None)

    with faulty_http(answer) as faulty:
        with make_storage(faulty.url).open("s3://bucket/key", start=13) as stream:
            assert b"".join(stream) == DATA[13:]

        assert len(faulty.requests) == 4


def test_a_whole_object_is_read_over_broken_connections():
    def answer(request: Request, _: Faulty) -> None:
        request.answer_range(DATA, cut_at=700_001 if request.number <= 3 else None)

    with faulty_http(answer) as faulty:
        assert make_storage(faulty.url).read("s3://bucket/key", max_bytes=10**9).data == DATA


class Garbled(io.BytesIO):
    """A connection on which TLS finds what nobody sent."""

    def read(self, size: int | None = -1) -> bytes:
        message = "decryption failed or bad record mac"
        raise SSLError(message)


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_connection_that_tls_gives_up_is_one_that_broke(attempts):
    raw = [io.BytesIO(b"abcd"), Garbled()]
    place = parse_address("s3://bucket/key")
    body = S3Body(place, lambda _: StreamingBody(raw.pop(), 4), start=0, attempts=attempts)

    if attempts == 2:
        assert body.read(4) == b"abcd"
    else:
        with pytest.raises(errors.StorageUnavailable, match="bad record mac"):
            body.read(4)


def test_connections_that_break_without_a_byte_between_them_are_counted():
    def answer(request: Request, _: Faulty) -> None:
        request.answer_range(DATA, cut_at=0)

    with faulty_http(answer) as faulty:
        with pytest.raises(errors.StorageUnavailable):
            use(make_storage(faulty.url, storage_attempts=3), "open")

        assert len(faulty.requests) == 3


def test_a_stream_never_goes_on_in_another_object():
    def answer(request: Request, _: Faulty) -> None:
        if request.handler.headers.get("If-Match"):
            request.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        else:
            request.answer_range(DATA, cut_at=100)

    with faulty_http(answer) as faulty, pytest.raises(errors.ObjectChanged):
        use(make_storage(faulty.url), "open")


def test_a_server_that_ignores_ranges_is_refused():
    with (
        faulty_http(lambda request, _: request.answer(200, DATA, ETag='"one"')) as faulty,
        pytest.raises(errors.StorageRefused, match="Range"),
    ):
        make_storage(faulty.url).open("s3://bucket/key", start=5)


CRC = "x-amz-checksum-crc32"


class Keeper:
    """A store that keeps objects, damaged or not, and says more or less about what it keeps."""

    def __init__(self, *, damage: bool, proof: str) -> None:
        self._damage = damage
        self._proof = proof
        self._kept = b""

    def __call__(self, request: Request, _: Faulty) -> None:
        if request.method == "GET":
            return request.answer_range(self._kept)
        self._kept = request.body[:-1] + b"?" if self._damage else request.body
        if self._proof == "checksum":
            crc = "AAAAAA==" if self._damage else request.handler.headers[CRC]
            return request.answer(200, ETag='"opaque"', x_amz_checksum_crc32=crc)
        return request.answer(200, ETag='"opaque"')


@pytest.mark.parametrize(
    ("proof", "checksums"),
    [("checksum", "when_supported"), ("none", "when_supported"), ("none", "when_required")],
)
def test_an_object_that_the_store_damaged_is_not_accepted(proof, checksums):
    with faulty_http(Keeper(damage=True, proof=proof)) as faulty:
        storage = make_storage(faulty.url, s3_checksums=checksums)

        with pytest.raises(errors.StorageUnavailable, match="other bytes"):
            storage.write("s3://bucket/key", b"bytes", content_type="x/y")


@pytest.mark.parametrize(("proof", "methods"), [("checksum", ["PUT"]), ("none", ["PUT", "GET"])])
def test_an_object_is_read_back_only_where_the_store_proves_nothing(proof, methods):
    with faulty_http(Keeper(damage=False, proof=proof)) as faulty:
        storage = make_storage(faulty.url)

        assert storage.write("s3://bucket/key", b"bytes", content_type="x/y").size == 5

        assert [method for method, _ in faulty.requests] == methods


@pytest.mark.parametrize("checksums", ["when_supported", "when_required"])
@pytest.mark.parametrize("held", [b"result", b"tluser"], ids=["the same", "another"])
def test_a_copy_is_read_back_where_the_store_proves_nothing(checksums, held):
    def answer(request: Request, _: Faulty) -> None:
        if request.method == "GET":
            return request.answer_range(held)
        return request.answer(200, b"<CopyObjectResult><ETag>opaque</ETag></CopyObjectResult>")

    known = Stored(etag="one", checksum=f"crc32:{zlib.crc32(b'result'):08x}", size=6)
    with faulty_http(answer) as faulty:
        storage = make_storage(faulty.url, s3_checksums=checksums)
        copying = partial(
            storage.copy, "s3://bucket/a", "s3://bucket/b", known=known, content_type="x/y"
        )
        if held == b"result":
            assert copying().etag == "opaque"
        else:
            with pytest.raises(errors.ObjectChanged):
                copying()

        assert [method for method, _ in faulty.requests] == ["PUT", "GET"]


def test_who_pays_is_said_with_every_request():
    paid = []

    def answer(request: Request, _: Faulty) -> None:
        paid.append(request.handler.headers.get("x-amz-request-payer"))
        crc = request.handler.headers.get(CRC, "")
        request.answer(200, b"", ETag='"one"', x_amz_checksum_crc32=crc)

    with faulty_http(answer) as faulty:
        storage = make_storage(faulty.url, s3_requester_pays=True)
        storage.write("s3://bucket/key", b"x", content_type="x/y")
        storage.delete("s3://bucket/key")

    assert paid == ["requester", "requester"]


def page(first: int, count: int, last: int) -> bytes:
    keys = [f"photos/{number:07}.jpg" for number in range(first, min(first + count, last))]
    entries = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>1</Size><ETag>&quot;e&quot;</ETag>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for key in keys
    )
    more = "true" if first + count < last else "false"
    return (
        f"<ListBucketResult><IsTruncated>{more}</IsTruncated>{entries}</ListBucketResult>".encode()
    )


def test_a_listing_of_many_objects_holds_one_page():
    def answer(request: Request, _: Faulty) -> None:
        _, _, after = request.path.partition("start-after=photos%2F")
        request.answer(200, page(int(after[:7]) + 1 if after else 0, 1000, 15_000))

    with faulty_http(answer) as faulty:
        storage = make_storage(faulty.url, storage_timeout_s=10)
        next(storage.list("s3://bucket/"))  # Loads boto3's own tables.
        tracemalloc.start()
        count = sum(1 for _ in storage.list("s3://bucket/"))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert count == 15_000
    assert peak < 8_000_000


def test_a_server_that_cannot_continue_a_listing_is_refused_instead_of_read_for_ever():
    with (
        faulty_http(lambda request, _: request.answer(200, page(0, 10, 100))) as faulty,
        pytest.raises(errors.StorageRefused, match="StartAfter"),
    ):
        list(make_storage(faulty.url).list("s3://bucket/"))
