"""Where a body becomes a request: checked, its files taken in, and made ready for the ledger.

As fal does it, a body that won't do is accepted, and stored as a request that failed with its 422;
it is never dispatched. Only what can't be a request at all is refused at once.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from models import catalog
from models.catalog import Endpoint
from models.errors import Kind, RequestError
from models.schema import UpscaleRequest
from scheduler import arguments, protocol
from scheduler.api.errors import TooManyRequests
from scheduler.api.lines import Lines, Rates
from scheduler.api.wishes import Wishes
from scheduler.errors import KeyReused, NobodyReady
from scheduler.files import sealing
from scheduler.files.intake import Intake, TakenIn
from scheduler.files.room import FileRoom
from scheduler.files.signing import SEALED
from scheduler.ledger import fleet, requests
from scheduler.ledger.feeds import Feed
from scheduler.ledger.files import Leftover
from scheduler.ledger.intake import NewJob
from scheduler.ledger.keys import Caller
from scheduler.ledger.lapses import MAX_FAILURES
from scheduler.ledger.requests import NewRequest
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.live import FOLLOWED

MAX_SEED = 2**63
FLEET_S = 1.0
"""How long it is believed what a look at the fleet has shown."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A request as it came.

    Attributes:
        endpoint: The id that its path names.
        body: The JSON object.
        caller: Whose key was sent.
        wishes: What headers and query say.
        cdn: Address of our public files, as the caller sees it.
    """

    endpoint: str
    body: Mapping[str, Any]
    caller: Caller
    wishes: Wishes
    cdn: str

    @property
    def fingerprint(self) -> str:
        """What two submissions under one idempotency key must have in common."""
        parts = json.dumps([self.endpoint, self.body], sort_keys=True)
        return hashlib.sha256(parts.encode(errors="replace")).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A request that is in the ledger, and how many are before it."""

    id: UUID
    position: int


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a body came to: arguments and files, or what is wrong with it."""

    pipeline: str
    suffix: str
    arguments: Mapping[str, Any]
    source: str | None = None
    inputs: tuple[UUID, ...] = ()
    complaints: list[dict[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A request that only has to be written.

    Attributes:
        submission: As it came.
        feed: Where its job belongs.
        row: The job's.
        folder: Where its results will lie.
        inputs: The files that came within it.
        submitted_since: Requests that went to the same feed after the counters were refreshed.
        transient: Its result is forgotten once it was delivered.
        expires_at: When its files go.
    """

    submission: Submission
    feed: Feed
    row: NewJob
    folder: str
    inputs: tuple[UUID, ...]
    submitted_since: int
    transient: bool
    expires_at: datetime | None

    def request(self, job_id: UUID) -> NewRequest:
        """Return what HTTP knows of it."""
        wishes = self.submission.wishes
        return NewRequest(
            id=job_id,
            owner=self.submission.caller.owner,
            endpoint=self.submission.endpoint,
            cdn=self.submission.cdn,
            submitted_since=self.submitted_since,
            start_within_s=wishes.start_within_s,
            idempotency_key=wishes.idempotency_key,
            fingerprint=self.submission.fingerprint if wishes.idempotency_key else None,
            transient=self.transient,
        )

    def leftover(self, job_id: UUID) -> Leftover:
        """Return which files it leaves behind, and for how long."""
        return Leftover(
            job_id=job_id,
            folder=self.folder,
            inputs=self.inputs,
            transient=self.transient,
            expires_at=self.expires_at,
        )


class Desk:
    """Takes submissions in; serves all threads of a process."""

    def __init__(self, ledger: Ledger, room: FileRoom, intake: Intake, lines: Lines) -> None:
        self._ledger = ledger
        self._room = room
        self._intake = intake
        self._lines = lines
        self._rates = Rates()
        self._obstacles: dict[str, tuple[float, str | None]] = {}

    def prepare(self, submission: Submission) -> Accepted | Prepared:
        """Make a request ready, or find the one that was made under the same idempotency key.

        Raises:
            UnknownEndpoint: The catalogue has no such endpoint.
            TooManyRequests: Over a limit.
            KeyReused: The idempotency key stands for another submission.
            NobodyReady: No worker could do it.
            WorldError: The ledger or the store of files is unwell.
        """
        endpoint = catalog.find(submission.endpoint)
        known = self._known(submission)
        if known is not None:
            return known
        self._check_limits(submission)
        checked = self._check(endpoint, submission)
        if checked.complaints is None:
            self._check_fleet(checked.pipeline)
        return self._prepared(submission, checked)

    def made_before(self, submission: Submission) -> Accepted:
        """Return the request that somebody else made under the same key at the same time.

        Raises:
            KeyReused: It is another one.
        """
        found = self._known(submission)
        assert found is not None, "a unique key was taken, so it is there"
        return found

    def _known(self, submission: Submission) -> Accepted | None:
        """Return the request that has this submission's idempotency key already."""
        key = submission.wishes.idempotency_key
        if key is None:
            return None
        with self._ledger.begin(durable=False) as session:
            found = requests.under_key(session, submission.caller.owner, key)
            if found is None:
                return None
            standing = requests.find(session, found[0])
        if found[1] != submission.fingerprint:
            reason = f"idempotency-key: {key!r} was used for another body; use another key for it"
            raise KeyReused(reason, field="idempotency-key")
        return Accepted(id=found[0], position=standing.position if standing else 0)

    def _check_limits(self, submission: Submission) -> None:
        caller, most = submission.caller, submission.wishes.max_queue_length
        if most is not None and self._lines.waiting(endpoint=submission.endpoint) > most:
            reason = f"fal_max_queue_length: more than {most} requests wait at the endpoint"
            raise TooManyRequests(reason, field="fal_max_queue_length")
        if caller.max_queued is not None:
            waiting = self._lines.waiting(owner=caller.owner)
            if waiting >= caller.max_queued:
                reason = f"{waiting} requests wait, and this key allows {caller.max_queued}"
                raise TooManyRequests(reason)
        if caller.per_minute is not None and not self._rates.take(caller.key_id, caller.per_minute):
            reason = f"this key allows {caller.per_minute} requests a minute; wait, and try again"
            raise TooManyRequests(reason)

    def _check(self, endpoint: Endpoint, submission: Submission) -> Checked:
        """Check a body against the endpoint's schema, and take its files in."""
        try:
            request = endpoint.request_class().model_validate(submission.body)
        except ValidationError as exc:
            found = [protocol.from_pydantic(error) for error in exc.errors(include_url=False)]
            return _refused(endpoint, found)
        try:
            taken = self._take_in(endpoint, request, submission)
        except RequestError as exc:
            error = {"code": exc.code, "kind": exc.kind, "message": str(exc), "field": exc.field}
            found = protocol.failure(JobState.REJECTED, error).detail
            return _refused(endpoint, found)
        return Checked(
            pipeline=endpoint.pipeline_for(taken.arguments),
            suffix=str(request.encoding()),
            arguments={k: v for k, v in taken.arguments.items() if k != arguments.IMAGE},
            source=taken.arguments[arguments.IMAGE],
            inputs=taken.inputs,
        )

    def _take_in(
        self, endpoint: Endpoint, request: UpscaleRequest, submission: Submission
    ) -> TakenIn:
        return self._intake.take_in(
            endpoint.id,
            request.model_dump(mode="json"),
            owner=submission.caller.owner,
            bases=[submission.cdn],
        )

    def _prepared(self, submission: Submission, checked: Checked) -> Prepared:
        at_once = checked.arguments.get("sync_mode") is True
        transient = at_once or not submission.wishes.kept
        feed = self._feed(submission, sealed=at_once)
        folder = self._room.result_folder()
        row = _row(submission, checked, folder)
        since = self._lines.note(feed.key, feed.owner, feed.endpoint)
        return Prepared(
            submission=submission,
            feed=feed,
            row=self._hidden(row) if transient else row,
            folder=folder,
            inputs=checked.inputs,
            submitted_since=since,
            transient=transient,
            # By this host's clock: next to a lifetime, the difference to the ledger's is nothing.
            expires_at=self._room.expiry(datetime.now(UTC), submission.wishes.lifetime_s),
        )

    def _check_fleet(self, pipeline: str) -> None:
        """Refuse what no worker could do, as far as the fleet was known a second ago."""
        at, reason = self._obstacles.get(pipeline, (-FLEET_S, None))
        if time.monotonic() - at >= FLEET_S:
            with self._ledger.begin(durable=False) as session:
                reason = fleet.obstacle(session, pipeline)
            self._obstacles[pipeline] = (time.monotonic(), reason)
        if reason is not None:
            raise NobodyReady(f"endpoint: {reason}", field="endpoint")

    def _hidden(self, row: NewJob) -> NewJob:
        """Return a row whose arguments only a worker with our key can read."""
        given = json.loads(row.arguments)
        sealed = sealing.hide(self._room.signer, given, place=row.destination or "")
        return row._replace(arguments=json.dumps(sealed))

    def _feed(self, submission: Submission, *, sealed: bool) -> Feed:
        options: dict[str, Any] = {FOLLOWED: True}
        if sealed:
            options[SEALED] = True
        if submission.wishes.tries is not None:
            options[MAX_FAILURES] = submission.wishes.tries
        return Feed(
            name=requests.FEED,
            endpoint=submission.endpoint,
            destination=self._room.results(),
            owner=submission.caller.owner,
            priority=submission.wishes.priority,
            options=options,
        )


def _refused(endpoint: Endpoint, complaints: list[dict[str, Any]]) -> Checked:
    return Checked(pipeline=endpoint.id, suffix="", arguments={}, complaints=complaints)


def _row(submission: Submission, checked: Checked, folder: str) -> NewJob:
    """Return the job's row; a body that won't do has an error, and no arguments are kept of it."""
    error = None
    if checked.complaints is not None:
        error = {
            "code": "body_invalid",
            "kind": str(Kind.REQUEST),
            "message": "; ".join(str(each["msg"]) for each in checked.complaints),
            "detail": checked.complaints,
        }
    seed = checked.arguments.get("seed")
    return NewJob(
        line=0,  # drawn by the feed
        pipeline=checked.pipeline,
        endpoint=submission.endpoint,
        source=checked.source,
        source_version=None,
        destination=None if error else f"{folder}image.{checked.suffix}",
        custom_id=None,
        arguments=json.dumps(checked.arguments),
        passthrough=None,
        # Drawn here, so that every attempt and every worker makes the same image.
        seed=seed if seed is not None else secrets.randbelow(MAX_SEED),
        error=json.dumps(error) if error else None,
    )
