"""Messages a second beside a raw client, and what one hanging consumer of twenty costs the rest."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from urllib.request import urlopen

from sqlalchemy import text

from scheduler.ledger.session import Ledger
from scheduler.ledger.subscriptions import subscribe
from scheduler.settings import Settings
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.servers import Servers, child_environment, process
from tests.factories import make_batch
from tests.processes import eventually

MESSAGES = 4000
DESTINATIONS = 20
EACH = 500
ROUNDS = 3
PATIENCE_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a round needs: the system, the consumer's port, and a way to run our sender."""

    servers: Servers
    settings: Settings
    ledger: Ledger
    port: int

    def url(self, number: int = 1, path: str = "hook") -> str:
        """Return the address of one destination; all of them are the same consumer."""
        return f"http://127.0.0.{number}:{self.port}/{path}"

    def rate(self, *, but_for: str = "") -> float:
        """Return messages a second that came since this was asked last, but for one host's."""
        with urlopen(self.url(path="seen")) as answer:
            found: dict[str, list[float]] = json.load(answer)
        times = sorted(at for host, some in found.items() if host != but_for for at in some)
        return (len(times) - 1) / (times[-1] - times[0]) if times else 0.0


def run(servers: Servers) -> Report:
    """Measure in rounds, and take the fastest of each kind: the one that others disturbed least."""
    with bench(servers) as made:
        rounds = [(raw_rate(made), our_rate(made)) for _ in range(ROUNDS)]
        calm_and_hung = [(fleet_rate(made), fleet_rate(made, hanging=1)) for _ in range(ROUNDS)]
    raw, ours = (max(each) for each in zip(*rounds, strict=True))
    calm, hung = (max(each) for each in zip(*calm_and_hung, strict=True))
    ratio, kept = ours / raw, hung / calm
    return Report(
        figures=(
            Figure(
                name="webhook messages, one destination, 16 at once, from event to answer",
                measured=f"{ours:,.0f}/s",
                baseline=f"raw aiohttp: {raw:,.0f}/s",
                ratio=f"{ratio:.2f} x",
                target="0.5 x",
                met=ratio >= 0.5,
            ),
            Figure(
                name=f"{DESTINATIONS - 1} destinations beside one that hangs",
                measured=f"{hung:,.0f}/s",
                baseline=f"beside one that answers: {calm:,.0f}/s",
                ratio=f"{kept:.2f} x",
                target="0.95 x",
                met=kept >= 0.95,
            ),
        ),
        notes=(f"webhooks: {ROUNDS} rounds of {MESSAGES:,} messages; load {load()}",),
    )


@contextmanager
def bench(servers: Servers) -> Iterator[Bench]:
    """Start a consumer, and make a system that may send to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with servers.system() as settings:
        allowed = settings.model_copy(update={"webhook_allow": (ip_network("127.0.0.0/8"),)})
        ledger = Ledger(allowed)
        arguments = ("-m", "tests.benchmarks.hook_consumer", str(port))
        env = child_environment(allowed)
        with process("consumer", *arguments, folder=servers.folder, env=env):
            made = Bench(servers=servers, settings=allowed, ledger=ledger, port=port)
            eventually(lambda: _answers(port))
            yield made
        ledger.close()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def raw_rate(made: Bench) -> float:
    """Return messages a second of the raw client, as the consumer sees them."""
    made.rate()
    command = [sys.executable, "-m", "tests.benchmarks.raw_client", made.url(), str(MESSAGES), "16"]
    subprocess.run(command, check=True)
    return made.rate()


def our_rate(made: Bench) -> float:
    """Return messages a second of a sender that finds so many events, none written as messages."""
    batch = _events(made, MESSAGES, [made.url()])
    return _sent(made, batch, MESSAGES)


def fleet_rate(made: Bench, *, hanging: int = 0) -> float:
    """Return messages a second to all destinations but the first, which may hang."""
    urls = [made.url(1, "hang" if hanging else "hook")]
    urls += [made.url(number) for number in range(2, DESTINATIONS + 1)]
    batch = _events(made, EACH, urls)
    return _sent(made, batch, EACH * (DESTINATIONS - 1), but_for="127.0.0.1")


def _events(made: Bench, jobs: int, urls: list[str]) -> str:
    """Let jobs of a batch end that all the URLs are told of."""
    batch = make_batch(made.ledger, jobs)
    with made.ledger.begin() as session:
        for url in urls:
            subscribe(session, url=url, batch_id=batch, events=["job.succeeded"])
        session.execute(
            text(
                "insert into events (type, batch_id, job_id)"
                " select 'job.succeeded', batch_id, id from jobs where batch_id = :batch"
            ),
            {"batch": batch},
        )
    return str(batch)


def _sent(made: Bench, batch: str, count: int, *, but_for: str = "") -> float:
    """Run a sender until `count` messages came, and return how many came in a second."""
    made.rate()
    env = child_environment(made.settings)
    with process(
        "sender", "-P", "-m", "scheduler.cli", "sender", folder=made.servers.folder, env=env
    ):
        eventually(lambda: _delivered(made, batch, but_for) >= count, within_s=PATIENCE_S)
    rate = made.rate(but_for=but_for)
    with made.ledger.begin() as session:
        session.execute(text("delete from subscriptions"))
        session.execute(text("delete from deliveries"))
    return rate


def _delivered(made: Bench, batch: str, but_for: str) -> int:
    statement = text(
        "select count(*) from deliveries where batch_id = :batch and state = 'delivered'"
        " and origin not like :but_for"
    )
    with made.ledger.begin() as session:
        return int(session.scalar(statement, {"batch": batch, "but_for": f"%//{but_for}:%"}) or 0)
