"""``python -m workers``: one worker process for one device; `workers.supervisor` starts these."""

import os
import sys

import click

from models.errors import EnlargerError
from scheduler import logs, traces
from scheduler.embedded.system import SET_UP_WRONGLY
from scheduler.errors import SettingsInvalid
from scheduler.settings import load
from workers import process
from workers.devices import find


@click.command()
@click.option("--endpoints", default="", help="Endpoint ids, parted by commas; all if not given.")
@click.option("--device", default="cpu", show_default=True, help="A torch device name.")
def command(endpoints: str, device: str) -> int:
    """Be a worker until SIGTERM: claim, fetch, enlarge, store."""
    settings = load()
    logs.configure(settings)
    traces.configure(settings, "worker")
    wanted = [name.strip() for name in endpoints.split(",") if name.strip()]
    return 0 if process.run(settings, find(device), wanted) else 1


def main() -> int:
    """Run the command; return the exit status."""
    # Read when torch is imported, and passed on to children. Else the threads of a convolution spin
    # while they wait for each other, and one that shares its core with a thread that decodes or
    # encodes keeps all of them: 10 to 100 times slower were measured on two busy cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return int(command(standalone_mode=False))
    except (EnlargerError, click.ClickException) as exc:
        click.echo(f"worker: {exc}", err=True)
        return SET_UP_WRONGLY if isinstance(exc, SettingsInvalid) else 1


if __name__ == "__main__":
    sys.exit(main())
