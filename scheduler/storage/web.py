"""``http(s)://`` sources: read only, through the guard, never more than a limit, never for ever."""

import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn
from urllib.parse import urljoin

import urllib3
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from scheduler.errors import (
    AccessDenied,
    ObjectChanged,
    ObjectMissing,
    ObjectTooLarge,
    StorageRefused,
    StorageUnavailable,
)
from scheduler.guard import Target, parse_url, resolve
from scheduler.storage.address import Address
from scheduler.storage.objects import Blob, ObjectInfo, Stored, Stream

if TYPE_CHECKING:
    from scheduler.settings import Settings

MOST_REDIRECTS = 5
PIECE_BYTES = 2**16
REDIRECTS = {301, 302, 303, 307, 308}
MISSING = {404, 410}
DENIED = {401, 403, 407}
PASSING = {408, 425, 429}
"""Refusals that another attempt may not meet; as all of 5xx."""


@dataclass(frozen=True, kw_only=True)
class WebStream(Stream):
    """What a server answers.

    Attributes:
        content_type: What it says that it is.
    """

    content_type: str | None


class WebStore:
    """Reads what a URL names; keeps no connection, since it meets a host once."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings

    def read(
        self, place: Address, *, max_bytes: int, version: str | None, etag: str | None
    ) -> Blob:
        """Return the whole file; its ETag is the digest of its bytes, whatever the server says."""
        retrying = Retrying(
            stop=stop_after_attempt(self._settings.storage_attempts),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            retry=retry_if_exception_type(StorageUnavailable),
            reraise=True,
        )
        blob: Blob = retrying(self._read_once, str(place), max_bytes)
        if etag is not None and etag != blob.etag:
            raise ObjectChanged(f"{place}: its bytes are others than when it was looked at first")
        return blob

    def _read_once(self, url: str, max_bytes: int) -> Blob:
        with self.stream(
            url, max_bytes=max_bytes, timeout_s=self._settings.download_timeout_s
        ) as stream:
            data = b"".join(stream.blocks)
            return Blob(
                data=data,
                etag=f"sha256:{sha256(data).hexdigest()}",
                content_type=stream.content_type,
            )

    @contextmanager
    def stream(self, url: str, *, max_bytes: int, timeout_s: float) -> Iterator[WebStream]:
        """Open what a URL names in the end, to be read once; see `Storage.stream`."""
        deadline = time.monotonic() + timeout_s
        for _ in range(MOST_REDIRECTS + 1):
            target = parse_url(url)
            with self._asked(target) as response:
                if response.status not in REDIRECTS:
                    _check(response, target, max_bytes)
                    yield WebStream(
                        version=_version(response),
                        blocks=_blocks(response, target, max_bytes, deadline),
                        content_type=response.headers.get("Content-Type"),
                    )
                    return
                url = urljoin(str(target), response.headers.get("Location", ""))
        raise StorageRefused(f"{_plain(target)}: redirects more than {MOST_REDIRECTS} times")

    @contextmanager
    def _asked(self, target: Target) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send the request to a checked address, under the name that it was checked for."""
        addresses = resolve(target, self._settings.input_allow)
        timeout = urllib3.Timeout(connect=5, read=self._settings.storage_timeout_s)
        with _pool(target, str(addresses[0]), timeout) as pool:
            try:
                response = pool.urlopen(
                    "GET",
                    target.path,
                    headers={
                        "Host": target.authority,
                        "User-Agent": "enlarger",
                        "Accept-Encoding": "identity",
                        **self._token(target),
                    },
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
                try:
                    yield response
                finally:
                    response.close()
            except urllib3.exceptions.HTTPError as exc:
                raise StorageUnavailable(f"{_plain(target)}: {exc}") from exc

    def _token(self, target: Target) -> dict[str, str]:
        """Return what the operator's token for this very host adds to a request."""
        token = self._settings.source_tokens.get(target.host)
        if token is None or target.scheme != "https":
            return {}
        return {"Authorization": f"Bearer {token.get_secret_value()}"}

    def stat(self, place: Address, *, version: str | None) -> ObjectInfo:
        """Describe what a URL names, by reading it: servers' HEAD is not to be relied on."""
        blob = self.read(
            place, max_bytes=self._settings.max_input_bytes, version=version, etag=None
        )
        return ObjectInfo(
            address=str(place),
            size=len(blob.data),
            etag=blob.etag,
            modified=datetime.now(UTC),
            content_type=blob.content_type,
        )

    def open(
        self, place: Address, *, start: int, version: str | None, etag: str | None
    ) -> BinaryIO:
        """Return the file's bytes from `start` on; at most as large as an input may be."""
        blob = self.read(place, max_bytes=self._settings.max_input_bytes, version=None, etag=etag)
        return io.BytesIO(blob.data[start:])

    def write(
        self,
        place: Address,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        only_if_absent: bool,
    ) -> Stored:
        """Refuse."""
        _refuse_writing(place)

    def copy(
        self,
        source: Address,
        place: Address,
        *,
        known: Stored,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> Stored:
        """Refuse."""
        _refuse_writing(place)

    def write_file(
        self, place: Address, path: Path, *, content_type: str, metadata: Mapping[str, str]
    ) -> Stored:
        """Refuse."""
        _refuse_writing(place)

    def list(
        self, prefix: Address, *, after: Address | None, versioned: bool
    ) -> Iterator[ObjectInfo]:
        """Refuse: the web has no listings."""
        reason = f"{prefix}: a web address can't be listed; name its files in a manifest"
        raise StorageRefused(reason)

    def delete(self, place: Address) -> None:
        """Refuse."""
        _refuse_writing(place)


def _pool(target: Target, address: str, timeout: urllib3.Timeout) -> urllib3.HTTPConnectionPool:
    """Return a pool that connects to `address`, and checks the certificate for the host's name."""
    if target.scheme == "http":
        return urllib3.HTTPConnectionPool(address, target.port, timeout=timeout)
    return urllib3.HTTPSConnectionPool(
        address,
        target.port,
        timeout=timeout,
        server_hostname=target.host,
        assert_hostname=target.host,
    )


def _check(response: urllib3.BaseHTTPResponse, target: Target, max_bytes: int) -> None:
    """Refuse an answer by its head.

    Raises:
        EnlargerError: The status is none of success, or the file is too large.
    """
    if response.status != 200:
        _refuse_status(response.status, target)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise StorageRefused(f"{_plain(target)}: sends a compressed answer that nobody asked for")
    promised = response.headers.get("Content-Length", "")
    if promised.isdigit() and int(promised) > max_bytes:
        _refuse_size(target, max_bytes)


def _version(response: urllib3.BaseHTTPResponse) -> str:
    headers = response.headers
    return headers.get("ETag") or headers.get("Last-Modified") or ""


def _blocks(
    response: urllib3.BaseHTTPResponse, target: Target, max_bytes: int, deadline: float
) -> Iterator[bytes]:
    """Yield an answer's bytes.

    Raises:
        EnlargerError: The file is too large, or it never ends.
    """
    left = max_bytes
    # What has come, however little: to wait for whole pieces would be to wait for who sends slowly.
    while piece := response.read1(PIECE_BYTES, decode_content=False):
        left -= len(piece)
        if left < 0:
            _refuse_size(target, max_bytes)
        if time.monotonic() > deadline:
            raise StorageUnavailable(f"{_plain(target)}: took too long; nothing was kept")
        yield piece


def _refuse_status(status: int, target: Target) -> NoReturn:
    where = _plain(target)
    if status in MISSING:
        raise ObjectMissing(f"{where}: the server answers {status}: nothing is there")
    if status in DENIED:
        raise AccessDenied(f"{where}: the server answers {status}; make the file public")
    if status in PASSING or status >= 500:
        raise StorageUnavailable(f"{where}: the server answers {status}")
    raise StorageRefused(f"{where}: the server answers {status}, not 200")


def _refuse_size(target: Target, max_bytes: int) -> NoReturn:
    raise ObjectTooLarge(f"{_plain(target)}: has more than {max_bytes:,} bytes, the limit")


def _refuse_writing(place: Address) -> NoReturn:
    reason = f"{place}: a web address can only be read; write to s3://bucket/key or file:///folder"
    raise StorageRefused(reason)


def _plain(target: Target) -> str:
    """Name a target without its query, which may be a secret."""
    return str(target).partition("?")[0]
