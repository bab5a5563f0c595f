"""Runs a sample as a batch of its own, into a folder of its own."""

import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from models import catalog
from scheduler import arguments
from scheduler.jobs_of_rows import Intake
from scheduler.ledger import batches, fleet, intake, rows
from scheduler.ledger.batches import Submission
from scheduler.ledger.rows import RowRecord
from scheduler.ledger.session import Ledger
from scheduler.manifests import Row, Source
from scheduler.storage import parse_address
from scheduler.submission import Order, check_fleet

OPTIONS = {"include": [], "exclude": [], "in_place": False, "only_if_absent": False, "reuse": False}
"""Every row of a sample is computed: that is what it is for."""
STOP_S = 10.0
"""How long a trial that nobody wants any more may take to end."""
POLL_S = 0.1


def scratch(destination: str) -> str:
    """Return a new folder below a batch's destination, which no listing of local files shows."""
    name = f".enlarger-estimate-{secrets.token_hex(4)}/"
    return str(parse_address(destination).folder().child(name))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Where and how a sample is run.

    Attributes:
        ledger: Of the system that does it.
        order: What is to be estimated.
        source: Of the order.
        place: The folder for the results.
    """

    ledger: Ledger
    order: Order
    source: Source
    place: str

    def run(
        self, sample: Sequence[Row], follow: Callable[[Sequence[UUID]], object]
    ) -> list[RowRecord]:
        """Run rows, and return what became of them.

        Args:
            sample: The rows.
            follow: Returns when a batch has ended and its report is written.

        Raises:
            NobodyReady: Every living worker says why it can't serve the endpoint.
        """
        id_ = self._submit(sample)
        try:
            follow([id_])
        except BaseException:
            self._stop(id_)
            raise
        return list(rows.stream(self.ledger, id_))

    def _submit(self, sample: Sequence[Row]) -> UUID:
        checked = arguments.checked(self.order.endpoint, dict(self.order.arguments))
        submission = self._submission(checked)
        # Names of our own: two rows of a sample must not meet, nor leave the folder.
        named = [row._replace(destination=f"{row.line}") for row in sample]
        with self.ledger.begin() as session:
            check_fleet(session, catalog.find(self.order.endpoint).pipeline_for(checked))
            batches.submit(session, submission, again=False)
            made = Intake(batches.get(session, submission.id), self.source)
            intake.append(
                session, submission.id, made.chunk(named, before=None, most=len(named) + 1)
            )
        return submission.id

    def _submission(self, checked: dict[str, Any]) -> Submission:
        id_ = uuid7()
        return Submission(
            id=id_,
            owner=self.order.owner,
            priority=self.order.priority,
            source=self.order.source,
            source_version="",
            destination=self.place,
            endpoint=self.order.endpoint,
            arguments=json.dumps(checked),
            options=json.dumps(OPTIONS),
            fingerprint=str(id_),
        )

    def _stop(self, id_: UUID) -> None:
        """Cancel, and give what runs a while to end: it would write where all is deleted."""
        until = time.monotonic() + STOP_S
        with self.ledger.begin() as session:
            batches.cancel(session, id_)
        while time.monotonic() < until:
            with self.ledger.begin(durable=False) as session:
                if batches.progress(session, id_).reported_at is not None:
                    return
            time.sleep(POLL_S)

    def workers(self) -> int:
        """Return how many living workers can do the order's own pipeline; at least one."""
        checked = arguments.checked(self.order.endpoint, dict(self.order.arguments))
        pipeline = catalog.find(self.order.endpoint).pipeline_for(checked)
        with self.ledger.begin(durable=False) as session:
            return max(1, fleet.ready_counts(session).get(pipeline, 0))
