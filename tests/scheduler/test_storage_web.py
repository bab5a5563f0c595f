"""Sources on the web, from real local servers that the settings allow."""

import hashlib
import time

import pytest

from models.errors import RequestError
from scheduler import errors
from scheduler.guard import parse_url
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage
from tests.faulty_http import Request, faulty_http

DATA = bytes(range(256)) * 1000


def make_storage(**overrides) -> Storage:
    values = {"input_allow": "127.0.0.0/8, ::1", "storage_timeout_s": 0.3, "storage_attempts": 2}
    return open_storage(Settings(**values | overrides))


def read(url: str, *, max_bytes: int = 10**7, **overrides) -> bytes:
    return make_storage(**overrides).read(url, max_bytes=max_bytes).data


def test_a_file_is_read_whole_under_its_digest():
    with faulty_http(lambda request, _: request.answer(200, DATA, Content_Type="a/b")) as faulty:
        blob = make_storage().read(f"{faulty.url}/a/photo.jpg?size=1", max_bytes=len(DATA))

    assert (blob.data, blob.content_type) == (DATA, "a/b")
    assert blob.etag == f"sha256:{hashlib.sha256(DATA).hexdigest()}"
    assert faulty.requests == [("GET", "/a/photo.jpg?size=1")]


def test_the_private_network_is_not_reached_unless_it_is_allowed():
    with faulty_http(lambda request, _: request.answer(200, DATA)) as faulty:
        with pytest.raises(errors.UrlRefused, match=r"127\.0\.0\.1"):
            read(f"{faulty.url}/a", input_allow="10.0.0.0/8")

        assert faulty.requests == []


def test_redirects_are_followed_where_the_guard_lets_them():
    def answer(request: Request, _) -> None:
        if request.path == "/b":
            request.answer(200, DATA)
        else:
            request.answer(302, Location="/b")

    with faulty_http(answer) as faulty:
        assert read(f"{faulty.url}/a") == DATA


@pytest.mark.parametrize("location", ["http://10.0.0.1/", "file:///etc/passwd", "http://0x7f.1/"])
def test_a_redirect_can_not_lead_past_the_guard(location):
    with (
        faulty_http(lambda request, _: request.answer(302, Location=location)) as faulty,
        pytest.raises(errors.UrlRefused),
    ):
        read(f"{faulty.url}/a")


def test_a_circle_of_redirects_ends():
    with faulty_http(lambda request, _: request.answer(302, Location="/a")) as faulty:
        with pytest.raises(errors.StorageRefused, match="redirects"):
            read(f"{faulty.url}/a")

        assert len(faulty.requests) == 6


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, errors.ObjectMissing),
        (410, errors.ObjectMissing),
        (401, errors.AccessDenied),
        (403, errors.AccessDenied),
        (418, errors.StorageRefused),
        (204, errors.StorageRefused),
        (429, errors.StorageUnavailable),
        (500, errors.StorageUnavailable),
    ],
)
def test_a_status_becomes_the_error_that_says_whose_fault_it_is(status, kind):
    with faulty_http(lambda request, _: request.answer(status)) as faulty:
        with pytest.raises(kind, match=str(status)):
            read(f"{faulty.url}/a")

        assert len(faulty.requests) == (2 if kind is errors.StorageUnavailable else 1)


def test_too_large_a_file_is_not_read_to_its_end():
    with (
        faulty_http(lambda request, _: request.answer(200, DATA)) as faulty,
        pytest.raises(errors.ObjectTooLarge, match="limit"),
    ):
        read(f"{faulty.url}/a", max_bytes=len(DATA) - 1)


def test_a_file_that_hides_its_length_is_cut_at_the_limit():
    def answer(request: Request, _) -> None:
        request.handler.send_response(200)
        request.handler.end_headers()
        request.handler.wfile.write(DATA)
        request.handler.close_connection = True

    with faulty_http(answer) as faulty:
        assert read(f"{faulty.url}/a") == DATA
        with pytest.raises(errors.ObjectTooLarge):
            read(f"{faulty.url}/a", max_bytes=1000)


@pytest.mark.parametrize("piece", [1, 2**16])
def test_a_server_that_drips_is_given_up_in_bounded_time(piece):
    def answer(request: Request, faulty) -> None:
        request.handler.send_response(200)
        request.handler.send_header("Content-Length", "1000000")
        request.handler.end_headers()
        while not faulty.ending.wait(0.05):
            try:
                request.handler.wfile.write(b"x" * piece)
            except OSError:
                return

    with faulty_http(answer) as faulty:
        began = time.monotonic()
        with pytest.raises(errors.StorageUnavailable, match="took too long"):
            read(f"{faulty.url}/a", download_timeout_s=0.2, storage_attempts=1)

        assert time.monotonic() - began < 5


def test_a_file_that_was_cut_off_is_no_file():
    with (
        faulty_http(lambda request, _: request.answer(200, DATA, cut_at=100)) as faulty,
        pytest.raises(errors.StorageUnavailable),
    ):
        read(f"{faulty.url}/a")


def test_a_silent_server_is_unavailable():
    with (
        faulty_http(lambda _, faulty: faulty.ending.wait(30)) as faulty,
        pytest.raises(errors.StorageUnavailable),
    ):
        read(f"{faulty.url}/a")


def test_a_compressed_answer_is_refused_unopened():
    bomb = {"Content_Encoding": "gzip"}
    with (
        faulty_http(lambda request, _: request.answer(200, DATA, **bomb)) as faulty,
        pytest.raises(errors.StorageRefused, match="compressed"),
    ):
        read(f"{faulty.url}/a")


def test_the_web_can_not_be_written_listed_or_emptied():
    storage, url = make_storage(), "http://127.0.0.1:9/folder/"

    with pytest.raises(errors.DestinationUnwritable, match="only be read"):
        storage.check_writable(url)
    with pytest.raises(RequestError, match="listed"):
        list(storage.list(url))
    with pytest.raises(RequestError, match="only be read"):
        storage.delete(url + "a")


def test_messages_leave_a_signed_query_out():
    with (
        faulty_http(lambda request, _: request.answer(403)) as faulty,
        pytest.raises(errors.AccessDenied) as caught,
    ):
        read(f"{faulty.url}/a?X-Amz-Signature=secret")

    assert "secret" not in str(caught.value)


def test_a_token_goes_to_its_host_only_and_never_in_the_clear():
    asked: list[str | None] = []

    def answer(request: Request, _) -> None:
        asked.append(request.handler.headers.get("Authorization"))
        request.answer(200, DATA)

    with faulty_http(answer) as faulty:
        read(faulty.url, source_tokens={"127.0.0.1": "secret"})

    web = make_storage(source_tokens={"models.example": "secret"})._stores.web
    tokens = [
        web._token(parse_url(url))
        for url in ("https://models.example/a", "https://example/a", "http://models.example/a")
    ]
    assert asked == [None], "by http no token is sent"
    assert tokens == [{"Authorization": "Bearer secret"}, {}, {}]
