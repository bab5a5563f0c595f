"""The Celery surface: no logic, no retries. All work is in ``workers.engine``."""

from collections.abc import Callable, Sequence
from typing import Any

import structlog
from celery import Celery

from scheduler import broker
from scheduler.ledger.jobs import Ticket
from workers.acknowledgement import Acknowledging

log = structlog.get_logger()


def register(app: Celery, run: Callable[[Sequence[Ticket]], None]) -> None:
    """Make `run` the app's task: it gets each bundle, and the message is acknowledged after it."""

    # Shared, as is Celery's default, the first app's task would run for every app of the process.
    @app.task(
        name=broker.UPSCALE,
        acks_late=True,
        reject_on_worker_lost=True,
        ignore_result=True,
        shared=False,
        Request=Acknowledging,
    )
    def upscale(
        bundle: Sequence[Sequence[Any]] = (), *newer: object, **still_newer: object
    ) -> None:
        """Run the jobs of a bundle that are still ours to run; delivery is at least once.

        Never raises: the engine writes every outcome to the ledger, which decides about another
        attempt and when. Celery's own retries and ETAs are not used.
        """
        if newer or still_newer:
            # Of a newer scheduler: the sweeper puts the jobs back, for a worker that can read it.
            log.warning("message.newer", remedy="upgrade this worker")
            return
        try:
            tickets = broker.tickets_of(bundle)
        except (TypeError, ValueError) as exc:
            log.warning("message.malformed", reason=str(exc))
            return
        if tickets:
            run(tickets)
