"""From a source's rows to a batch's jobs: each checked, named, and given its seed.

Millions of rows pass here, so what many of them share is worked out once: what their arguments come
to, and what all names begin with.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from pydantic_core import PydanticSerializationError, to_json

from models import catalog
from models.errors import RequestError
from models.schema import named_files
from scheduler import arguments
from scheduler.errors import RowInvalid
from scheduler.ledger.intake import Chunk, NewJob
from scheduler.ledger.tables import Batch
from scheduler.manifests import Item, Rejected, Row, Skipped, Source
from scheduler.naming import Naming
from scheduler.storage import fence

REMEMBERED = 4096
"""Different arguments whose meaning is kept."""
SEEDS_AT_ONCE = 1000
ESCAPED_NUL = "\\u0000"
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Choice(NamedTuple):
    """What a row's arguments come to, together with the batch's.

    Attributes:
        arguments: All of them, as JSON.
        pipeline: Who is to do it.
        suffix: The result's.
        seed: Chosen by somebody; None to draw one.
        files: The addresses of further files, by argument.
    """

    arguments: str
    pipeline: str
    suffix: str
    seed: int | None
    files: Mapping[str, str]


class Intake:
    """Turns one batch's entries into rows of the ledger."""

    def __init__(self, batch: Batch, source: Source) -> None:
        self._batch = batch
        self._endpoint = catalog.find(batch.endpoint)
        self._request = self._endpoint.request_class()
        self.obstacles: dict[str, str] = {}
        """Why a row's own choice of a pipeline would wait for ever, by pipeline."""
        self._choices: dict[bytes, Choice] = {}
        self._seeds: list[int] = []
        self._places: Sequence[str] | None = batch.options.get("places")
        self._naming = Naming(
            destination=batch.destination,
            roots=source.roots,
            in_place=batch.options["in_place"],
        )

    def chunk(self, entries: Iterable[Item], *, before: dict[str, Any] | None, most: int) -> Chunk:
        """Return up to `most` of the entries as a chunk, the last one if there are fewer.

        A row that can't become a job is rejected, not raised. Each is dealt with as it is read: a
        list of them all would be work for Python's garbage collector.
        """
        rows, skipped, entry = [], 0, None
        for entry in islice(entries, most):
            if isinstance(entry, Skipped):
                skipped += 1
            else:
                rows.append(self._row(entry))
        trigger = self._batch.options.get("trigger")
        return Chunk(
            rows=rows,
            trigger_id=None if trigger is None else UUID(trigger),
            skipped=skipped,
            before=before,
            cursor=before if entry is None else entry.cursor,
            last=len(rows) + skipped < most,
        )

    def _row(self, entry: Row | Rejected) -> NewJob:
        if isinstance(entry, Rejected):
            return self._rejected(entry.line, entry.field, entry.reason, text=entry.text)
        try:
            return self._job(entry)
        except RequestError as exc:
            return self._refused(entry, exc)

    def _job(self, row: Row) -> NewJob:
        choice = self._choice(row.arguments)
        if choice.pipeline in self.obstacles:
            raise RowInvalid(f"arguments: {self.obstacles[choice.pipeline]}", field="arguments")
        destination = self._naming.result(
            row.source, suffix=choice.suffix, explicit=row.destination
        )
        if self._places is not None:
            self._check_places(row, choice, destination, self._places)
        return NewJob(
            row.line,
            choice.pipeline,
            self._batch.endpoint,
            row.source,
            row.version,
            destination,
            row.custom_id,
            choice.arguments,
            _json(row.passthrough, "passthrough") if row.passthrough else None,
            # Drawn here, so that every attempt and every worker makes the same image.
            choice.seed if choice.seed is not None else self._drawn_seed(),
            row.alternative,
            object=row.object,
        )

    def _drawn_seed(self) -> int:
        if not self._seeds:
            self._seeds = arguments.draw_seeds(SEEDS_AT_ONCE)
        return self._seeds.pop()

    @staticmethod
    def _check_places(row: Row, choice: Choice, destination: str, places: Sequence[str]) -> None:
        """Refuse a row that names what its order was not allowed to.

        Raises:
            PlaceForbidden: The picture, another file or the destination lies elsewhere.
        """
        fence.check(destination, places, field="destination")
        fence.check(row.source, places, field=arguments.IMAGE)
        others = {} if row.alternative is None else {"source": row.alternative}
        for field, address in (*choice.files.items(), *others.items()):
            fence.check(address, places, field=field)

    def _choice(self, own: Mapping[str, Any]) -> Choice:
        key = to_json(own) if own else b"{}"
        found = self._choices.get(key)
        if found is None:
            if len(self._choices) >= REMEMBERED:
                self._choices.clear()
            found = self._choices[key] = self._choose({**self._batch.arguments, **own})
        return found

    def _choose(self, given: dict[str, Any]) -> Choice:
        checked = arguments.checked(self._batch.endpoint, given)
        request = self._request.model_validate({arguments.IMAGE: arguments.PLACEHOLDER, **checked})
        return Choice(
            arguments=_json(checked, "arguments"),
            pipeline=self._endpoint.pipeline_for(checked),
            suffix=str(request.encoding()),
            seed=checked.get("seed"),
            files={
                name: each for name, each in named_files(request).items() if name != arguments.IMAGE
            },
        )

    def _refused(self, row: Row, exc: RequestError) -> NewJob:
        """Reject a row that could be read, and keep what it asked for: it may be put right."""
        given = {**self._batch.arguments, **row.arguments}
        return self._rejected(row.line, exc.field, str(exc), text=None)._replace(
            source=storable(row.source),
            source_version=storable(row.version),
            source_alternative=storable(row.alternative),
            destination=storable(row.destination),
            custom_id=storable(row.custom_id),
            arguments=_kept(given) or "{}",
            passthrough=_kept(row.passthrough) if row.passthrough else None,
            object=row.object,
        )

    def _rejected(self, line: int, field: str | None, reason: str, *, text: str | None) -> NewJob:
        error = {
            "code": "row_invalid",
            "kind": "request",
            "field": field,
            "message": reason,
            "text": text,
        }
        kept = {name: storable(value) for name, value in error.items()}
        return NewJob(
            line=line,
            pipeline=self._batch.endpoint,
            endpoint=self._batch.endpoint,
            source=None,
            source_version=None,
            destination=None,
            custom_id=None,
            arguments="{}",
            passthrough=None,
            seed=None,
            error=json.dumps(kept),
        )


def _json(value: Mapping[str, Any], field: str) -> str:
    """Return JSON that PostgreSQL takes, which knows neither NUL nor half a surrogate pair.

    Raises:
        RowInvalid: The value holds one of these.
    """
    try:
        written = to_json(value, inf_nan_mode="null").decode()
    except PydanticSerializationError:
        written = ESCAPED_NUL
    if ESCAPED_NUL in written and _NUL.search(written):
        reason = f"{field}: holds a NUL character or half a character (a lone surrogate)"
        raise RowInvalid(reason, field=field)
    return written


def _kept(value: Mapping[str, Any]) -> str | None:
    """Return JSON, or None where PostgreSQL could not take it."""
    try:
        return _json(value, "row")
    except RowInvalid:
        return None


def storable(text: str | None) -> str | None:
    """Return a text with what PostgreSQL can't store made visible."""
    if text is None:
        return None
    return text.replace("\0", "\\0").encode(errors="backslashreplace").decode()
