"""All faults at once, for a while: nothing is lost, nothing doubled, and nobody grows.

A few seconds in the ordinary suite; `make test-faults` does 100,000 rows in ten minutes.
"""

import json
import random
import time
from uuid import UUID

import click
import pytest

from scheduler.ledger.tables import JobState
from tests.system.campaign import Campaign
from tests.system.conftest import SEED
from tests.system.invariants import check_accounts
from tests.system.system import System, photo

pytestmark = pytest.mark.faults

BATCHES = 4
ROWS_A_SECOND = 100_000 / 600
LONG_S = 60.0


def test_under_every_fault_at_once_nothing_is_lost_or_doubled_and_nobody_grows(
    system: System, chance: random.Random, campaign_s: float, capsys: pytest.CaptureFixture[str]
) -> None:
    system.adjust(bundle_jobs=32, max_failures=1000)
    workers = 4 if campaign_s >= LONG_S else 2
    rows = round(ROWS_A_SECOND * campaign_s / BATCHES)
    batches = [submit(system, number, rows) for number in range(BATCHES)]
    campaign = Campaign(
        system, chance, batches, workers=workers, pace_s=workers / ROWS_A_SECOND / 2
    )
    began = time.monotonic()

    campaign.run(campaign_s)

    for batch in batches:
        system.wait_finished(batch, within_s=60 + 2 * campaign_s)
    took_s = time.monotonic() - began
    found = [row for batch in batches for row in check_accounts(system, batch)]
    assert len(found) == BATCHES * rows
    assert {row.state for row in found} == {JobState.SUCCEEDED}
    campaign.check_memory()
    if campaign_s < LONG_S:
        return
    again = sum(row.epoch - 1 for row in found)
    with capsys.disabled():
        click.echo(
            f"\nseed {SEED}: {len(found)} rows in {took_s:.0f} s, {again} attempts more than rows,"
            f" struck by {dict(campaign.struck)}; most grown: {campaign.most_grown()} MiB"
        )


def submit(system: System, number: int, rows: int) -> UUID:
    """Submit a manifest of so many rows, which all name the same picture."""
    picture = system.folder / "one.png"
    picture.write_bytes(photo(1))
    row = {"source": picture.as_uri()}
    lines = (json.dumps(row | {"destination": f"{line}.png"}) for line in range(rows))
    manifest = system.folder / f"{number}.jsonl"
    manifest.write_text("\n".join(lines))
    return system.submit(
        manifest,
        destination=(system.folder / f"results-{number}").as_uri(),
        owner=f"owner {number % 2}",
    )
