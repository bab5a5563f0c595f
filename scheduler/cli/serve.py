"""``enlarger scheduler`` and ``enlarger worker``: the processes that a system is made of."""

import os
import sys

import click

from scheduler.cli.options import load_settings


@click.command()
def scheduler() -> None:
    """Read sources, dispatch, sweep and report, until stopped.

    Run as many as you like: one leads, the others wait to take over. It brings the database to the
    newest schema when it starts.

    \b
    Example:
      ENLARGER_DATABASE_URL=postgresql://… ENLARGER_REDIS_URL=redis://… enlarger scheduler
    """
    from scheduler import logs, loop

    settings = load_settings()
    logs.configure(settings)
    loop.run(settings)


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
    load_settings()
    options = [
        word
        for name, value in (("--endpoints", endpoints), ("--device", device))
        if value is not None
        for word in (name, value)
    ]
    # Replaced, not imported: this side never loads what only workers need.
    command = [sys.executable, "-P", "-m", "workers.supervisor", *options]
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter, no shell
