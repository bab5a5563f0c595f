"""From addresses in the store to public ones, and back."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import UUID

from sqlalchemy import text

from scheduler.errors import FileMissing, ResultForgotten
from scheduler.files import data_uri, sealing
from scheduler.files.room import FileRoom
from scheduler.files.signing import SEALED
from scheduler.ledger import files
from scheduler.ledger.session import Ledger
from scheduler.storage import Storage, parse_address

FILE = re.compile(r"/files/([0-9a-f-]{36})/([\w-]+)/[^/]+")
RESULT = re.compile(r"/results/([0-9a-f-]{36})/([0-9]{1,4})/([\w-]+)/[^/]+")
SEALING_BYTES = 28
"""What sealing adds: AES-GCM's nonce and tag."""
_OUTCOME = text("select outcome from jobs where id = :id")


@dataclass(frozen=True, kw_only=True)
class Public:
    """An object that anybody who has its public address may read.

    Attributes:
        address: Where it is stored.
        name: What it is called when it is saved.
        content_type: Its media type, as somebody claims.
    """

    address: str
    name: str
    content_type: str


class Publisher:
    """Gives results their public addresses, and knows what is meant by one."""

    def __init__(self, ledger: Ledger, storage: Storage, room: FileRoom) -> None:
        self._ledger = ledger
        self._storage = storage
        self._room = room

    def body(self, job_id: UUID, outcome: Mapping[str, Any], *, base: str) -> dict[str, Any]:
        """Return a result's body with public addresses in place of the store's.

        An image that was to be answered with is in the body itself, as a data URI.

        Args:
            job_id: Whose result it is.
            outcome: The job's.
            base: Under which address clients see our ``/cdn``, such as ``https://host/cdn``.

        Raises:
            ResultForgotten: It was not to be kept, and its time is over.
            StorageUnavailable: An image that was to be answered with can't be read now.
        """
        if outcome.get("forgotten"):
            reason = (
                "the request asked that its result not be kept (sync_mode or X-Fal-Store-IO: 0); "
                "it was delivered, or an hour has passed"
            )
            raise ResultForgotten(reason)
        objects = outcome["objects"]
        body = sealing.reveal(self._room.signer, outcome["body"], place=str(job_id))
        urls = [self._url(job_id, index, each, base) for index, each in enumerate(objects)]
        further = {
            each["field"]: url for each, url in zip(objects, urls, strict=True) if "field" in each
        }
        images = urls[: len(urls) - len(further)]  # they come first
        if "image" in body:
            body["image"] = {**body["image"], "url": images[0]}
        if "images" in body:
            body["images"] = [
                {**image, "url": url} for image, url in zip(body["images"], images, strict=True)
            ]
        body |= {name: {**body[name], "url": url} for name, url in further.items()}
        return body

    def _url(self, job_id: UUID, index: int, stored: Mapping[str, Any], base: str) -> str:
        if stored.get(SEALED):
            return self._data_uri(job_id, stored)
        mark = self._room.signer.mark("result", str(job_id), str(index))
        name = quote(stored["address"].rpartition("/")[2], safe="")
        return f"{base}/results/{job_id}/{index}/{mark}/{name}"

    def _data_uri(self, job_id: UUID, stored: Mapping[str, Any]) -> str:
        most = stored["size_bytes"] + SEALING_BYTES
        sealed = self._storage.read(stored["address"], max_bytes=most).data
        plain = self._room.signer.unseal(sealed, place=str(job_id))
        return data_uri.spelt(plain, stored["content_type"])

    def address(self, path: str) -> str:
        """Return where the object of a public address is stored; raises like `find`."""
        return self.find(path).address

    def find(self, path: str) -> Public:
        """Return what a public address stands for.

        Args:
            path: What follows ``/cdn`` in it, without a query.

        Raises:
            AddressSecretWrong: It was not given out by us.
            FileMissing: It is none, or its time is over.
        """
        if (match := FILE.fullmatch(path)) is not None:
            file = self._room.readable(_id(match[1]), match[2])
            assert file.digest is not None, "only files whose bytes are there can be read"
            address = self._room.blob(file.digest)
            return Public(address=address, name=file.name, content_type=file.content_type)
        if (match := RESULT.fullmatch(path)) is not None:
            self._room.signer.check(match[3], "result", match[1], match[2])
            return self._result(_id(match[1]), int(match[2]))
        reason = "this is no address of a file"
        raise FileMissing(reason)

    def _result(self, job_id: UUID, index: int) -> Public:
        with self._ledger.begin(durable=False) as session:
            files.left_by(session, job_id)
            outcome = session.scalar(_OUTCOME, {"id": job_id}) or {}
        objects = outcome.get("objects", [])
        if index >= len(objects) or objects[index].get(SEALED):
            reason = "there is no such result, or its time is over"
            raise FileMissing(reason)
        found = objects[index]
        place = parse_address(found["address"])
        if place.relative_to(self._room.root) is None:
            reason = "the results of batches have no public address"
            raise FileMissing(reason)
        return Public(address=str(place), name=place.name, content_type=found["content_type"])


def _id(written: str) -> UUID:
    try:
        return UUID(written)
    except ValueError as exc:
        reason = "this is no address of a file"
        raise FileMissing(reason) from exc
