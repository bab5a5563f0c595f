"""``python -m workers.supervisor``: one supervised worker process for each device of this host."""

import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import structlog

from models import catalog
from models.errors import EnlargerError
from scheduler import broker, logs, pulse
from scheduler.children import Child, Supervisor
from scheduler.embedded.system import SET_UP_WRONGLY, environment
from scheduler.errors import ChildGaveUp, SettingsInvalid
from scheduler.ledger.session import url
from scheduler.settings import Settings, load
from scheduler.stopping import stop_event
from workers import stock
from workers.devices import of_host
from workers.engine import FLUSH_S, UNWIND_S
from workers.relay import Relay
from workers.stock import Stock

log = structlog.get_logger()


@click.command()
@click.option("--endpoints", default="", help="Endpoint ids, parted by commas; all if not given.")
@click.option("--device", default=None, help="Only this device, such as cpu or cuda:1.")
def command(endpoints: str, device: str | None) -> None:
    """Keep this host's workers running until SIGTERM, which drains them."""
    settings = load()
    logs.configure(settings)
    check(settings)
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
        hopeless=SET_UP_WRONGLY,
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


def check(settings: Settings) -> None:
    """Refuse here, and once, what would keep every worker from working.

    Raises:
        SettingsInvalid: The database or Redis is not set, ENLARGER_OPTIONS won't do, or
            ENLARGER_PULSE can't be touched.
    """
    pulse.beat(settings)
    url(settings)
    broker.redis_url(settings)
    stock.check_options(Stock(endpoints=catalog.ENDPOINTS, chosen=settings.options))


def main() -> int:
    """Run the command; return the exit status."""
    try:
        command(standalone_mode=False)
    except (EnlargerError, click.ClickException) as exc:
        click.echo(f"worker: {exc}", err=True)
        return SET_UP_WRONGLY if is_hopeless(exc) else 1
    return 0


def is_hopeless(exc: Exception) -> bool:
    """Tell whether a worker that ended so would always end so."""
    return isinstance(exc, SettingsInvalid) or (isinstance(exc, ChildGaveUp) and exc.hopeless)


if __name__ == "__main__":
    sys.exit(main())
