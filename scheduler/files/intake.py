"""The files that a request names become addresses that a worker can read.

A request over HTTP may name what anybody can reach by a URL, bring a file within itself, or name a
file of ours by its public address. It may not name `s3://` or `file://`: those are the operator's.
"""

import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from models import catalog
from models.schema import Arguments, file_fields
from scheduler.errors import FileRefused, UrlRefused
from scheduler.files import data_uri
from scheduler.files.published import Publisher
from scheduler.files.room import FileRoom
from scheduler.guard import parse_url


@dataclass(frozen=True, kw_only=True)
class TakenIn:
    """A request's arguments once its files are where a worker can read them.

    Attributes:
        arguments: As they were, with addresses in place of files.
        inputs: The files that came within the request; they go when the request is forgotten.
    """

    arguments: Arguments
    inputs: tuple[UUID, ...]


class Intake:
    """Takes the files of requests in."""

    def __init__(self, room: FileRoom, publisher: Publisher, *, max_bytes: int) -> None:
        """Prepare.

        Args:
            room: Where files go.
            publisher: Knows our own addresses.
            max_bytes: Most of one data URI.
        """
        self._room = room
        self._publisher = publisher
        self._max_bytes = max_bytes

    def take_in(
        self, endpoint: str, arguments: Arguments, *, owner: str, bases: Sequence[str]
    ) -> TakenIn:
        """Return arguments whose files a worker can read.

        Args:
            endpoint: The catalogue's id; its schema says which fields are files.
            arguments: As they came; fields that hold no text are left to the schema's own check.
            owner: Whose files they become.
            bases: Under which addresses clients see our ``/cdn``.

        Raises:
            FileRefused: A field names something that is not fetched; the error names the field.
            ObjectTooLarge: A data URI is.
            AddressSecretWrong: An address of ours was altered.
            FileMissing: A file of ours is not there any more.
        """
        taken, inputs = dict(arguments), []
        for field in file_fields(catalog.find(endpoint).request_class()):
            value = arguments.get(field)
            if not isinstance(value, str):
                continue
            if data_uri.is_data_uri(value):
                taken[field], id_ = self._inline(field, value, owner)
                inputs.append(id_)
            else:
                taken[field] = self._named(field, value, bases)
        return TakenIn(arguments=taken, inputs=tuple(inputs))

    def _inline(self, field: str, value: str, owner: str) -> tuple[str, UUID]:
        found = data_uri.parse(value, field=field, max_bytes=self._max_bytes)
        name = field + (mimetypes.guess_extension(found.content_type) or "")
        file = self._room.take(found.data, owner=owner, name=name, content_type=found.content_type)
        assert file.digest is not None, "it was just stored"
        return self._room.blob(file.digest), file.id

    def _named(self, field: str, value: str, bases: Sequence[str]) -> str:
        for base in bases:
            if value.startswith(base + "/"):
                return self._publisher.address(value[len(base) :].partition("?")[0])
        try:
            return str(parse_url(value))
        except UrlRefused as exc:
            reason = f"{field}: {exc}; give an http(s) URL, a data URI or the URL of an upload"
            raise FileRefused(reason, field=field) from exc
