"""``python -m workers.supervisor``: one supervised worker process for each device of this host."""

import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import structlog

from models.errors import EnlargerError
from scheduler import logs
from scheduler.children import Child, Supervisor
from scheduler.embedded.system import environment
from scheduler.settings import Settings, load
from scheduler.stopping import stop_event
from workers.devices import of_host
from workers.engine import FLUSH_S, UNWIND_S
from workers.relay import Relay

log = structlog.get_logger()


@click.command()
@click.option("--endpoints", default="", help="Endpoint ids, parted by commas; all if not given.")
@click.option("--device", default=None, help="Only this device, such as cpu or cuda:1.")
def command(endpoints: str, device: str | None) -> None:
    """Keep this host's workers running until SIGTERM, which drains them."""
    settings = load()
    logs.configure(settings)
    stop = stop_event()
    devices = [device] if device else [each.id for each in of_host()]
    log.info("devices.found", devices=devices)
    with tempfile.TemporaryDirectory(prefix="enlarger-workers-") as folder:
        children = [_child(settings, each, endpoints, Path(folder)) for each in devices]
        with Relay([child.log for child in children]), _kept(children, stop) as supervisors:
            stop.wait()
            for supervisor in supervisors:
                supervisor.check()


def _child(settings: Settings, device: str, endpoints: str, folder: Path) -> Child:
    """Return one device's worker."""
    return Child(
        name=f"worker-{device}",
        command=(
            *(sys.executable, "-P", "-m", "workers"),
            *("--device", device, "--endpoints", endpoints),
        ),
        env=environment(settings),
        log=folder / f"{device.replace(':', '-')}.log",
        # What an unwilling worker takes at most, and a little for its interpreter.
        grace_s=settings.grace_s + 2 * UNWIND_S + FLUSH_S + 1.5,
    )


@contextmanager
def _kept(children: Sequence[Child], stop: threading.Event) -> Iterator[list[Supervisor]]:
    """Keep children running for a block; leaving it drains all of them at the same time.

    One supervisor stops its children one after the other: with a device each, the last would have
    to wait for the graces of all others. So each child has its own.
    """
    supervisors = [Supervisor(on_failure=stop.set) for _ in children]
    try:
        for supervisor, child in zip(supervisors, children, strict=True):
            supervisor.start(child)
        yield supervisors
    finally:
        stopping = [threading.Thread(target=supervisor.stop) for supervisor in supervisors]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()


def main() -> int:
    """Run the command; return the exit status."""
    try:
        command(standalone_mode=False)
    except (EnlargerError, click.ClickException) as exc:
        click.echo(f"worker: {exc}", err=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
