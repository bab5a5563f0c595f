"""From a batch's source to waiting jobs: checked, named and committed a chunk at a time."""

import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from models import catalog
from models.errors import RequestError, WorldError
from scheduler.errors import StorageUnavailable
from scheduler.jobs_of_rows import Intake, storable
from scheduler.ledger import batches, fleet, intake
from scheduler.ledger.intake import Chunk
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import Batch, BatchState
from scheduler.manifests import Dialect, Item, Source, open_source
from scheduler.settings import Settings
from scheduler.storage import Storage
from scheduler.triggers import backfill

log = structlog.get_logger()

FIRST_ROWS = 100
"""The first chunk is small, so that the first jobs start at once."""
TRACEBACK_CHARACTERS = 8000


@dataclass
class Reading:
    """A source that is being read: where it stands, and what comes next."""

    cursor: dict[str, Any] | None
    entries: Iterator[Item]
    intake: Intake


@dataclass(frozen=True)
class Ahead:
    """A batch's next chunk, which is made while the one before it is being committed."""

    batch_id: UUID
    chunk: Future[Chunk]


class Reader:
    """The scheduler's duty to read: one chunk of each batch in turn, so that none waits for long.

    Its memory is only open streams, and one chunk ahead where a single batch is being read; where
    each stands is committed with every chunk.
    """

    def __init__(
        self, ledger: Ledger, storage: Storage, settings: Settings, *, read: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._storage = storage
        self._settings = settings
        self._read = read
        self._open: dict[UUID, Reading] = {}
        self._not_before: dict[UUID, float] = {}
        self._ahead: Ahead | None = None
        self._helper = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")

    def step(self) -> bool:
        """Read one chunk of every batch that is in state `reading`; return whether any was.

        Raises:
            LedgerUnavailable: Reading goes on from the cursors.
        """
        with self._ledger.begin() as session:
            found = [b for b in batches.active(session) if b.state == BatchState.READING]
        now = time.monotonic()
        found = [batch for batch in found if self._not_before.get(batch.id, now) <= now]
        self._open = {b.id: self._open[b.id] for b in found if b.id in self._open}
        if self._ahead is not None and self._ahead.batch_id not in self._open:
            self._ahead = None
        for batch in found:
            try:
                self._read_chunk(batch, alone=len(found) == 1)
            except RequestError as exc:
                self._give_up(batch, exc)
            except StorageUnavailable as exc:
                self._back_off(batch, exc)  # and go on with the batches behind it
            except WorldError:
                self._open.pop(batch.id, None)  # from the committed cursor
                raise
            except Exception as exc:  # noqa: BLE001 - a bug of one source's reader, whatever it be
                self._give_up_broken(batch, exc)
            self._read()
        return bool(found)

    def _read_chunk(self, batch: Batch, *, alone: bool) -> None:
        chunk = self._made_ahead(batch) or self._make(batch, self._reading(batch))
        if alone and not chunk.last:
            made = self._helper.submit(self._make, batch, self._open[batch.id])
            self._ahead = Ahead(batch.id, made)
        with self._ledger.begin() as session:
            added = intake.append(session, batch.id, chunk)
            stopped = added and self._is_too_bad(session, batch)
        if not added or stopped or chunk.last:
            del self._open[batch.id]

    def _made_ahead(self, batch: Batch) -> Chunk | None:
        """Return the chunk that was made ahead, if it is the one behind the committed cursor."""
        if self._ahead is None or self._ahead.batch_id != batch.id:
            return None
        made, self._ahead = self._ahead.chunk, None
        chunk = made.result()
        if chunk.before == batch.cursor:
            return chunk
        del self._open[batch.id]  # It has read on from another place.
        return None

    def _reading(self, batch: Batch) -> Reading:
        """Return a batch's open source at the committed cursor."""
        reading = self._open.get(batch.id)
        if reading is None or reading.cursor != batch.cursor:
            reading = self._open[batch.id] = self._begin(batch)
        return reading

    def _make(self, batch: Batch, reading: Reading) -> Chunk:
        """Read a batch's next chunk; from then on the source stands behind it."""
        before = reading.cursor
        size = self._settings.ingest_rows if before is not None else FIRST_ROWS
        reading.intake.obstacles = self._obstacles(batch)
        chunk = reading.intake.chunk(reading.entries, before=before, most=size)
        reading.cursor = chunk.cursor
        return chunk

    def _is_too_bad(self, session: Session, batch: Batch) -> bool:
        """Cancel a batch of whose rows too many were rejected; return whether that was so."""
        most = batch.options.get("max_rejected")
        if most is None:
            return False
        rejected = batches.progress(session, batch.id).rejected
        if rejected > most:
            reason = (
                f"source: {rejected} rows were rejected, more than --max-rejected {most} allows; "
                f"see why with: enlarger results {batch.id} --failed"
            )
            batches.cancel(session, batch.id, reason=reason)
        return bool(rejected > most)

    def _obstacles(self, batch: Batch) -> dict[str, str]:
        """Say of each pipeline that rows may ask for why nobody has it; its own was seen to."""
        endpoint = catalog.find(batch.endpoint)
        others = set(endpoint.pipelines()) - {endpoint.pipeline_for(batch.arguments)}
        if not others:
            return {}
        with self._ledger.begin(durable=False) as session:
            found = {pipeline: fleet.obstacle(session, pipeline) for pipeline in others}
        return {pipeline: reason for pipeline, reason in found.items() if reason is not None}

    def _begin(self, batch: Batch) -> Reading:
        source = self._source(batch)
        return Reading(
            cursor=batch.cursor,
            entries=iter(source.rows(batch.cursor)),
            intake=Intake(batch, source),
        )

    def _source(self, batch: Batch) -> Source:
        if "trigger" in batch.options:
            return backfill.source_of(self._storage, batch)
        places = batch.options.get("places")
        return open_source(
            self._storage if places is None else self._storage.fenced(places),
            batch.source,
            include=batch.options["include"],
            exclude=batch.options["exclude"],
            dialect=Dialect.from_json(batch.options.get("dialect", {})),
            destination=batch.destination,
            version=batch.source_version,
        )

    def _back_off(self, batch: Batch, exc: StorageUnavailable) -> None:
        log.warning("source.delayed", batch=str(batch.id), reason=str(exc))
        self._open.pop(batch.id, None)
        self._not_before[batch.id] = time.monotonic() + self._settings.backoff_s

    def _give_up(self, batch: Batch, exc: RequestError) -> None:
        log.error("source.unreadable", batch=str(batch.id), reason=str(exc))
        self._stop_reading(batch, str(exc))

    def _give_up_broken(self, batch: Batch, exc: Exception) -> None:
        """Keep a bug's traceback with the batch that met it; the others are read on."""
        log.error("source.broken", batch=str(batch.id), exc_info=exc)
        trace = storable("".join(traceback.format_exception(exc))[-TRACEBACK_CHARACTERS:])
        self._stop_reading(batch, f"source: reading it met a bug, please report it:\n{trace}")

    def _stop_reading(self, batch: Batch, reason: str) -> None:
        self._open.pop(batch.id, None)
        with self._ledger.begin() as session:
            intake.unreadable(session, batch.id, reason)
