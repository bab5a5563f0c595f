"""``enlarger scheduler``, ``worker`` and ``events``: the processes that a system is made of."""

import gc
import os
import sys
from collections.abc import Iterator

import click


@click.command()
def scheduler() -> None:
    """Read sources, dispatch, sweep, report and send webhooks, until stopped.

    Run as many as you like: one leads, the others wait to take over. It brings the database to the
    newest schema when it starts.

    \b
    Example:
      ENLARGER_DATABASE_URL=postgresql://… ENLARGER_REDIS_URL=redis://… enlarger scheduler
    """
    from scheduler import logs, loop, settings, traces

    loaded = settings.load()
    logs.configure(loaded)
    traces.configure(loaded, "scheduler")
    loop.run(loaded)


@click.command()
def events() -> None:
    """Take the events of buckets from the SQS queues of ENLARGER_EVENT_QUEUES, until stopped.

    The scheduler that leads does so as well; this is for more of them than it has time for, and
    for a network that it can't reach. Run as many as you like.

    \b
    Example:
      export ENLARGER_EVENT_QUEUES=https://sqs.eu-central-1.amazonaws.com/123456789012/photos
      enlarger events
    """
    from scheduler import logs, settings
    from scheduler.triggers import queues

    loaded = settings.load()
    logs.configure(loaded)
    queues.run(loaded)


@click.command()
def sender() -> None:
    """Send webhooks, until stopped.

    Every scheduler does so by itself; run more of these where there is much to send. It needs the
    database, and no Redis.

    \b
    Example:
      ENLARGER_DATABASE_URL=postgresql://… enlarger sender
    """
    from scheduler import logs, loop, pulse, settings, traces
    from scheduler.stopping import stop_event
    from scheduler.webhooks.process import sending

    loaded = settings.load()
    logs.configure(loaded)
    traces.configure(loaded, "sender")
    stop = stop_event()
    loop.wait_for_ledger(loaded, stop)
    with sending(loaded, stop):
        gc.freeze()  # else the collector goes through all modules again and again in a burst
        pulse.beat_until(stop, loaded)


@click.command()
@click.option("--endpoints", metavar="ID,ID…", help="Serve only these; all if not given.")
@click.option("--device", metavar="NAME", help="Only this device, e.g. cpu or cuda:1.")
def worker(endpoints: str | None, device: str | None) -> None:
    """Do the work: one process for each device of this host, restarted when it dies.

    SIGTERM drains: what fits into ENLARGER_GRACE_S is finished, the rest is given back.

    \b
    Examples:
      enlarger worker
      enlarger worker --endpoints enlarger/lanczos --device cpu
    """
    from models import catalog
    from scheduler import settings
    from scheduler.embedded.system import environment

    for name in (endpoints or "").split(","):
        if name.strip():
            catalog.find(name.strip())
    # Replaced, not imported: this side never loads what only workers need.
    command = [sys.executable, "-P", "-m", "workers.supervisor", *_options(endpoints, device)]
    os.execve(sys.executable, command, environment(settings.load()))  # noqa: S606 - no shell


def _options(endpoints: str | None, device: str | None) -> Iterator[str]:
    if endpoints is not None:
        yield from ("--endpoints", endpoints)
    if device is not None:
        yield from ("--device", device)
