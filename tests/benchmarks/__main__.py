"""`python -m tests.benchmarks [NAME…]`: measures against the raw parts, and prints one table.

A figure that falls short is said so and is no error; a benchmark that breaks is one.
"""

import logging
import sys

import click
import structlog
from rich.console import Console

from tests.benchmarks import (
    api,
    ccsr,
    chain_of_zoom,
    clarity,
    compact,
    company,
    creative,
    fairness,
    first,
    ingest,
    latency,
    load_3b,
    overlap,
    reuse,
    scale,
    seedvr2,
    simulate,
    startup,
    switches,
    turnover,
    webhooks,
)
from tests.benchmarks.figures import load, show
from tests.benchmarks.servers import servers

BENCHMARKS = {
    "api": api.run,
    "turnover": turnover.run,
    "device": overlap.run,
    "latency": latency.run,
    "help": startup.run,
    "rows": ingest.run,
    "rows_memory": ingest.memory,
    "scale": scale.run,
    "simulate": simulate.run,
    "switches": switches.run,
    "fairness": fairness.run,
    "first": first.run,
    "compact": compact.run,
    "company": company.run,
    "reuse": reuse.run,
    "seedvr2": seedvr2.run,
    "ccsr": ccsr.run,
    "chain_of_zoom": chain_of_zoom.run,
    "clarity": clarity.run,
    "creative": creative.run,
    "load_3b": load_3b.run,
    "webhooks": webhooks.run,
}

WIDTH = 140
"""Of the table in a file, which has no width of its own."""


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
def main(names: tuple[str, ...]) -> None:
    """Run the benchmarks NAMES, or all of them."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    talk = Console(stderr=True)
    reports = []
    with servers() as running:
        for name in names or BENCHMARKS:
            talk.print(f"{name}: measuring (load {load()})", highlight=False)
            reports.append(BENCHMARKS[name](running))
    data = Console()
    show(reports, data if data.is_terminal else Console(width=WIDTH))


main()
