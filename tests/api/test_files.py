"""Uploads and downloads on a live server: as fal's clients do them, and as attackers would."""

import gc
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import fal_client.client
import httpx
import pytest
from sqlalchemy import text

from scheduler.settings import Settings
from tests.api.live import Live, live

PICTURE = bytes(range(256)) * 4
INITIATE = "/rest/storage/upload/initiate?storage_type=fal-cdn-v3"


def begin(api: Live, *, multipart: bool = False, **body: Any) -> tuple[str, str]:
    """Ask for a place as the JavaScript client does; return where to send, and where to read."""
    path = INITIATE.replace("initiate", "initiate-multipart") if multipart else INITIATE
    told = {"content_type": "image/png", "file_name": "ünï.png"} | body
    with api.client() as client:
        answer = client.post(path, json=told).raise_for_status().json()
    return answer["upload_url"], answer["file_url"]


def test_what_was_uploaded_is_read_without_a_key_whole_and_in_ranges(api: Live) -> None:
    upload_url, file_url = begin(api)
    before = httpx.get(file_url)
    headers = {"content-type": "image/png"}
    sent = [httpx.put(upload_url, content=PICTURE, headers=headers) for _ in range(2)]
    other = httpx.put(upload_url, content=b"another")

    whole = httpx.get(file_url)
    part = httpx.get(file_url, headers={"range": "bytes=10-19"})
    beyond = httpx.get(file_url, headers={"range": "bytes=9999-"})
    head = httpx.head(file_url)

    assert (before.status_code, other.status_code) == (404, 422)
    assert [answer.status_code for answer in sent] == [200, 200]
    assert (whole.status_code, whole.content) == (200, PICTURE)
    assert (part.status_code, part.content) == (206, PICTURE[10:20])
    assert part.headers["content-range"] == "bytes 10-19/1024"
    assert beyond.status_code == 416
    assert (head.status_code, head.headers["content-length"]) == (200, "1024")
    assert whole.headers["content-type"] == "image/png"
    assert "inline" in whole.headers["content-disposition"]
    assert whole.headers["x-content-type-options"] == "nosniff"


def test_parts_become_one_file(api: Live) -> None:
    upload_url, file_url = begin(api, multipart=True)
    parts = [httpx.put(f"{upload_url}/{n}", content=bytes([n]) * 9).json() for n in (2, 1)]
    joined = httpx.post(f"{upload_url}/complete", json={"parts": parts})
    wrong = httpx.post(f"{upload_url}/complete", json={"parts": [{"partNumber": "x"}]})

    assert joined.status_code == 200, joined.text
    assert httpx.get(file_url).content == b"\1" * 9 + b"\2" * 9
    assert wrong.status_code == 422
    assert wrong.json()["detail"][0]["loc"][0] == "body"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("multipart", [False, True])
def test_the_python_client_uploads(
    api: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, multipart: bool
) -> None:
    monkeypatch.setattr(fal_client.client, "REST_URL", f"{api.url}/rest")
    monkeypatch.setattr(fal_client.client, "CDN_URL", f"{api.url}/cdn")
    monkeypatch.setattr(fal_client.client, "MULTIPART_THRESHOLD", 0 if multipart else 10**9)
    path = tmp_path / "photo.png"
    data = PICTURE * (11 * 1024 if multipart else 1)  # two parts
    path.write_bytes(data)

    url = fal_client.client.SyncClient(key=api.key).upload_file(path)
    gc.collect()  # its connections, which it never closes

    assert hashlib.sha256(httpx.get(url).content).digest() == hashlib.sha256(data).digest()
    assert url.endswith("/photo.png")


def test_on_s3_a_file_is_read_from_there(settings: Settings, s3_url: str, bucket: str) -> None:
    on_s3 = settings.model_copy(
        update={"files": f"s3://{bucket}/f/", "s3_endpoint_url": s3_url, "s3_region": "us-east-1"}
    )
    with live(on_s3) as api:
        upload_url, file_url = begin(api)
        httpx.put(upload_url, content=PICTURE).raise_for_status()
        there = httpx.get(file_url)
        found = httpx.get(there.headers["location"])
        head = httpx.head(file_url)

    assert there.status_code == 302
    assert there.headers["location"].startswith(s3_url)
    assert there.headers["cache-control"] == "no-store"
    assert (found.status_code, found.content) == (200, PICTURE)
    assert found.headers["content-type"] == "image/png"
    assert "X-Amz-Expires=300" in there.headers["location"]
    assert head.headers["content-length"] == "1024"


def test_another_s_file_is_not_reached_by_any_guess(api: Live) -> None:
    upload_url, file_url = begin(api)
    httpx.put(upload_url, content=PICTURE).raise_for_status()
    _, _, _, file_id, mark, name = urlsplit(file_url).path.split("/")
    write_mark = upload_url.rpartition("/")[2]

    answers = {
        path: httpx.get(f"{api.url}/cdn/{path}").status_code
        for path in (
            f"files/{file_id}/{mark[::-1]}/{name}",
            f"files/{file_id}/{write_mark}/{name}",
            f"files/{uuid4()}/{mark}/{name}",
            f"results/{file_id}/0/{mark}/{name}",
        )
    }
    paths = {
        path: httpx.get(f"{api.url}/cdn/{path}").status_code
        for path in (
            f"files/{file_id}/{mark}/..%2f..%2f..%2fetc%2fpasswd",
            f"files/..%2f..%2fblobs/{mark}/{name}",
            f"files/%00/{mark}/{name}",
            "files/",
            "../../etc/passwd",
        )
    }
    written = httpx.put(f"{api.url}/cdn/uploads/{file_id}/{mark}", content=b"x")
    with api.app.state.ledger.begin() as session:
        session.execute(text("update files set expires_at = now()"))
    expired = httpx.get(file_url)

    assert set(answers.values()) == {403}
    assert set(paths.values()) == {404}
    assert (written.status_code, expired.status_code) == (403, 404)


def test_a_page_that_somebody_uploads_is_never_shown(api: Live) -> None:
    name = '../../"><script>\r\nX-Evil: 1.html'
    upload_url, file_url = begin(api, content_type="text/html", file_name=name)
    httpx.put(upload_url, content=b"<script>alert(1)</script>").raise_for_status()

    served = httpx.get(file_url)

    assert served.headers["content-type"] == "application/octet-stream"
    assert served.headers["content-disposition"].startswith("attachment; ")
    assert "sandbox" in served.headers["content-security-policy"]
    assert "x-evil" not in served.headers
    assert "/../" not in file_url


def test_nothing_too_large_is_taken_and_nothing_without_a_key(settings: Settings) -> None:
    small = settings.model_copy(update={"max_upload_bytes": 1000})
    with live(small) as api:
        upload_url, _ = begin(api)
        announced = httpx.put(upload_url, content=bytes(1001))
        unannounced = httpx.put(upload_url, content=iter([bytes(600)] * 2))
        part = httpx.put(f"{upload_url}/2", content=b"x")
        empty = httpx.put(upload_url, content=b"")
        lifetime = {"x-fal-object-lifecycle": '{"expiration_duration_seconds": -1}'}
        other = api.make_key("bob", scopes=("batches",))
        keys = [
            httpx.post(api.url + path, headers={"authorization": f"{key}"}).status_code
            for path in (INITIATE, "/cdn/files/upload", "/rest/storage/auth/token")
            for key in ("", "Bearer e30.AAAA", "Key a:b", f"Key {other}")
        ]
        with api.client() as client:
            odd = client.post(INITIATE, json={}, headers=lifetime)
            token = client.post("/rest/storage/auth/token", json={}).json()["token"]
        taken = httpx.post(
            f"{api.url}/cdn/files/upload",
            content=b"x",
            headers={"authorization": f"Bearer {token}"},
        )

    assert {announced.status_code, unannounced.status_code, part.status_code} == {413}
    assert "ENLARGER_MAX_UPLOAD_BYTES" in announced.json()["detail"]
    assert (empty.status_code, odd.status_code, taken.status_code) == (422, 400, 200)
    assert keys == [401, 401, 401, 403] * 3
