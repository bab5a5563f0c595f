"""Weights that requests name: fetched once, kept within a budget, and refused before a model."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from models.errors import ArgumentInvalid, Cancelled
from scheduler.errors import ObjectTooLarge, UrlRefused
from scheduler.settings import Settings
from scheduler.storage import open_storage
from tests.faulty_http import Faulty, Request, faulty_http
from workers.larder import Larder, Wish

HEADER = b'{"a":{}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER
FIELD = "additional_lora_url"


def nothing() -> None:
    """Nobody cancels."""


@contextmanager
def serving(body: bytes = WEIGHTS, *, etag: str | None = '"1"') -> Iterator[Faulty]:
    def answer(request: Request, _faulty: Faulty) -> None:
        request.answer(200, body, **({"ETag": etag} if etag else {}))

    with faulty_http(answer) as web:
        yield web


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of no system: nothing here needs one."""
    return Settings(brought_weights=tmp_path / "brought")


@pytest.fixture
def larder(settings: Settings) -> Larder:
    return larder_of(settings)


def larder_of(settings: Settings, **overrides) -> Larder:
    allowed = {"input_allow": (IPv4Network("127.0.0.1/32"),)}
    adjusted = settings.model_copy(update=allowed | overrides)
    return Larder(open_storage(adjusted), adjusted)


def take(larder: Larder, address: str, held: ExitStack, *, max_bytes: int = 1000) -> Path:
    return larder.take(Wish(field=FIELD, address=address, max_bytes=max_bytes), held, nothing)


def read_bodies(path: Path) -> list[Path]:
    return sorted(path.glob("files/*"))


def test_jobs_side_by_side_fetch_a_file_once(larder: Larder) -> None:
    bodies: list[int] = []
    go_on = threading.Event()

    def answer(request: Request, _faulty: Faulty) -> None:
        bodies.append(request.number)
        go_on.wait(5)
        request.answer(200, WEIGHTS, ETag='"1"')

    found: list[Path] = []
    with faulty_http(answer) as web, ExitStack() as held:
        threads = [
            threading.Thread(target=lambda: found.append(take(larder, f"{web.url}/a", held)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        go_on.set()
        for thread in threads:
            thread.join()

    assert len(set(found)) == 1
    assert found[0].name.endswith(".safetensors")
    assert found[0].read_bytes() == WEIGHTS


def test_what_is_kept_is_not_read_again_until_it_changes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    larder = larder_of(settings)
    fetched: list[str] = []
    original = Larder._fetched
    monkeypatch.setattr(
        Larder,
        "_fetched",
        lambda self, wish, *rest: fetched.append(wish.address) or original(self, wish, *rest),
    )
    version = ['"1"']

    def answer(request: Request, _faulty: Faulty) -> None:
        request.answer(200, WEIGHTS, ETag=version[0])

    with faulty_http(answer) as web, ExitStack() as held:
        first = take(larder, f"{web.url}/a", held)
        assert take(larder, f"{web.url}/a", held) == first
        assert len(fetched) == 1
        assert take(larder, f"{web.url}/b", held) == first, "the same bytes lie once"
        version[0] = '"2"'
        assert take(larder, f"{web.url}/a", held) == first

    assert len(fetched) == 3
    assert read_bodies(settings.brought_weights) == [first]


def test_over_the_budget_the_oldest_go_but_never_what_a_job_uses(settings: Settings) -> None:
    larder = larder_of(settings, brought_weights_bytes=2 * len(WEIGHTS))
    bodies = {f"/{n}": WEIGHTS[:-2] + f"{n}}}".encode() for n in range(4)}

    def answer(request: Request, _faulty: Faulty) -> None:
        request.answer(200, bodies[request.path], ETag=request.path)

    with faulty_http(answer) as web, ExitStack() as held:
        used = take(larder, f"{web.url}/0", held)
        for number in (1, 2, 3):
            with ExitStack() as short:
                last = take(larder, f"{web.url}/{number}", short)

    assert set(read_bodies(settings.brought_weights)) == {used, last}


def test_a_file_of_100_gigabytes_is_refused_before_it_is_read(larder: Larder) -> None:
    def answer(request: Request, faulty: Faulty) -> None:
        request.handler.send_response(200)
        request.handler.send_header("Content-Length", str(100 * 10**9))
        request.handler.end_headers()
        faulty.ending.wait(10)  # whoever reads, waits

    with faulty_http(answer) as web, ExitStack() as held, pytest.raises(ObjectTooLarge):
        take(larder, f"{web.url}/a", held)


def test_a_file_that_is_larger_than_it_says_is_refused(settings: Settings) -> None:
    larder = larder_of(settings)

    with (
        serving(WEIGHTS + bytes(2000)) as web,
        ExitStack() as held,
        pytest.raises(ObjectTooLarge),
    ):
        take(larder, f"{web.url}/a", held)

    assert [each.suffix for each in read_bodies(settings.brought_weights)] in ([], [".part"])


def test_a_redirect_to_a_private_address_is_refused(larder: Larder) -> None:
    def answer(request: Request, _faulty: Faulty) -> None:
        request.answer(302, Location="http://10.0.0.1/weights.safetensors")

    with (
        faulty_http(answer) as web,
        ExitStack() as held,
        pytest.raises(UrlRefused, match="not a public address"),
    ):
        take(larder, f"{web.url}/a", held)


@pytest.mark.parametrize("body", [b"<html><body>not found", b"\x80\x02}q\x00.  old pickle", b"PK"])
def test_what_begins_like_no_weights_is_the_fault_of_its_field(larder: Larder, body: bytes) -> None:
    with (
        serving(body) as web,
        ExitStack() as held,
        pytest.raises(ArgumentInvalid, match=f"^{FIELD}: the file begins with") as caught,
    ):
        take(larder, f"{web.url}/a", held)

    assert caught.value.field == FIELD


def test_a_job_that_nobody_wants_stops_to_wait_and_to_read(larder: Larder) -> None:
    def cancel() -> None:
        raise Cancelled

    with serving() as web, ExitStack() as held, pytest.raises(Cancelled):
        larder.take(Wish(field=FIELD, address=f"{web.url}/a", max_bytes=1000), held, cancel)


def test_a_file_of_a_store_is_kept_as_well(larder: Larder, tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(WEIGHTS)
    address = (tmp_path / "mine.safetensors").as_uri()

    with ExitStack() as held:
        assert take(larder, address, held).read_bytes() == WEIGHTS
        with pytest.raises(ObjectTooLarge):
            take(larder, address, held, max_bytes=10)
