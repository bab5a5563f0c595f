"""Ways for a job to end without being computed: its result is there before it begins."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from models.errors import ImageUnreadable, RequestError
from models.schema import OutputFormat, UpscaleRequest
from scheduler.errors import AccessDenied, LedgerUnavailable, ObjectChanged, ObjectMissing
from scheduler.ledger import reuse
from scheduler.ledger.jobs import Claimed, Ending
from scheduler.ledger.reuse import Earlier
from scheduler.ledger.session import Ledger
from scheduler.storage import Storage
from scheduler.storage.objects import ObjectInfo
from workers import codec, outcome
from workers.codec import Header
from workers.life import Life
from workers.outcome import StoredImage, Story
from workers.source import Input
from workers.storeroom import Storeroom, places, stored_as

log = structlog.get_logger()


class Shortcuts:
    """Looks for results; any thread may ask."""

    def __init__(
        self, ledger: Ledger, storage: Storage, storeroom: Storeroom, *, worker: str
    ) -> None:
        self._ledger = ledger
        self._storage = storage
        self._storeroom = storeroom
        self._worker = worker

    def existing(self, job: Claimed, request: UpscaleRequest) -> Ending | None:
        """End a job whose result's place is taken, if its batch leaves such rows alone.

        Of several images each must be there; what else a result may have is not looked for.
        An object without bytes is no image, but what a writer left that did not come to its end;
        so the job is done. Where the result's place is that of the source, something is always
        there, and `replaced_before` decides.

        Raises:
            AccessDenied: What is there can't be seen.
            StorageUnavailable: The store does not answer.
        """
        if not _leaves_existing(job) or self._takes_its_source_s_place(job):
            return None
        encoding = request.encoding()
        found: list[ObjectInfo] = []
        for address in places(job, [None] * request.image_count(), encoding):
            there = self._there(address)
            if there is None:
                return None
            found.append(there)
        if len(found) == 1:
            earlier = self._made_by_an_earlier_attempt(job, found[0], encoding)
            return earlier or self._left_alone(job, found)
        # Its own images are made once more, as any job's are whose worker died.
        return None if self._is_own(job, found[-1]) else self._left_alone(job, found)

    def _there(self, address: str) -> ObjectInfo | None:
        """Return what is stored at an address, unless it has no bytes."""
        try:
            found = self._storage.stat(address)
        except ObjectMissing:
            return None
        except AccessDenied as exc:
            reason = f"destination: leaving out what exists takes permission to look: {exc}"
            raise AccessDenied(reason, field="destination") from exc
        return found if found.size else None

    def _is_own(self, job: Claimed, found: ObjectInfo) -> bool:
        """Tell whether an earlier attempt of the job stored an object."""
        if job.epoch == 1:
            return False
        blob = self._storage.read(found.address, max_bytes=found.size)
        try:
            return codec.read_provenance(blob.data).get("job") == str(job.id)
        except ImageUnreadable:
            return False

    def replaced_before(
        self, job: Claimed, found: Input, header: Header, encoding: OutputFormat
    ) -> Ending | None:
        """End a job whose source was replaced by its own result, or by some result.

        An earlier attempt of the job may have stored its result, and died before it could say so.
        To enlarge that again would be to enlarge a result. Somebody else's result is left alone
        only if the batch leaves alone what exists.
        """
        if not job.options.get("in_place"):
            return None
        origin = codec.read_provenance(found.data)
        if origin.get("job") == str(job.id):
            return self._done_before(job, found, header, encoding)
        if origin and _leaves_existing(job) and self._takes_its_source_s_place(job):
            return self._left_alone(job, [self._storage.stat(job.destination)])
        return None

    def reused(
        self,
        life: Life,
        recipe: bytes | None,
        encoding: OutputFormat,
        about: Mapping[str, Any],
    ) -> Ending | None:
        """End a job with a copy of what an equal one made, if that is still there, unchanged.

        Whatever is in the way costs a computation, and nothing else. Not copied is where nothing
        may be replaced, which stores don't promise for copies, and where the result takes its
        source's place: a second attempt would not know the copy for the job's own result.

        Args:
            life: The job's.
            recipe: What an equal one is known by; None where none is looked for.
            encoding: Of the result.
            about: What the outcome says of the input.

        Raises:
            Cancelled: Nobody wants the result, or the lease would not outlast the copying.
            StorageUnavailable: The store does not answer.
        """
        job = life.job
        if (
            recipe is None
            or job.options.get("only_if_absent")
            or self._takes_its_source_s_place(job)
        ):
            return None
        earlier = self._earlier(job, recipe)
        if earlier is None:
            return None
        images = [StoredImage.of(entry) for entry in earlier.result["objects"]]
        try:
            stored = self._storeroom.copy(life, images, encoding, earlier.job_id)
        except RequestError as exc:
            log.info("result.not_reused", job=str(job.id), reason=str(exc))
            if isinstance(exc, ObjectMissing | ObjectChanged):
                self._forget(job, recipe, earlier)
            return None
        story = Story(
            body=earlier.result["body"],
            input=about,
            timings=life.timings,
            worker=self._worker,
            weights=earlier.result.get("weights", {}),
            notes=earlier.result.get("notes", {}),
            reused_from=earlier.job_id,
        )
        return outcome.succeeded(job, stored, story, 0.0)

    def _earlier(self, job: Claimed, recipe: bytes) -> Earlier | None:
        try:
            with self._ledger.autocommit(durable=False) as connection:
                return reuse.find(connection, job.owner, recipe)
        except LedgerUnavailable:
            return None  # what is computed meanwhile is recorded when it is back

    def _forget(self, job: Claimed, recipe: bytes, earlier: Earlier) -> None:
        with suppress(LedgerUnavailable), self._ledger.autocommit(durable=False) as connection:
            reuse.forget(connection, job.owner, recipe, earlier)

    def _takes_its_source_s_place(self, job: Claimed) -> bool:
        return self._storage.is_same_object(job.source, job.destination)

    def _left_alone(self, job: Claimed, found: Sequence[ObjectInfo]) -> Ending:
        return outcome.existing(job, found, worker=self._worker)

    def _made_by_an_earlier_attempt(
        self, job: Claimed, found: ObjectInfo, encoding: OutputFormat
    ) -> Ending | None:
        """Recognise the job's own result; only a job that was claimed before can have one."""
        if job.epoch == 1:
            return None
        blob = self._storage.read(job.destination, max_bytes=found.size)
        try:
            header = codec.probe(blob.data)
            origin = codec.read_provenance(blob.data)
        except ImageUnreadable:
            return None
        if origin.get("job") != str(job.id):
            return None
        there = Input(
            address=job.destination, data=blob.data, etag=blob.etag, metadata=blob.metadata
        )
        return self._done_before(job, there, header, encoding)

    def _done_before(
        self, job: Claimed, there: Input, header: Header, encoding: OutputFormat
    ) -> Ending:
        stored = stored_as(there.data, etag=there.etag)
        image = StoredImage(
            address=job.destination,
            content_type=encoding.content_type,
            size_bytes=stored.size,
            size=header.size,
            etag=stored.etag,
            checksum=stored.checksum,
        )
        story = Story(body={"seed": job.seed}, input={}, timings={}, worker=self._worker)
        return outcome.succeeded(job, [image], story, 0.0)


def _leaves_existing(job: Claimed) -> bool:
    return bool(job.options.get("skip_existing"))
