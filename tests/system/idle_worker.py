"""`python -m tests.system.idle_worker`: the real worker, with stages that have nothing to do.

Queue, engine, heartbeat, leases and completion are the product's own. Of a hundred jobs one finds
the world unwell, by its id and attempt, and backs off.
"""

import os
import sys
import time

from models.errors import WorldError
from scheduler.ledger.jobs import Ending
from scheduler.ledger.tables import JobState
from tests.system.paced import PACE_VARIABLE
from workers.__main__ import main
from workers.life import Life
from workers.stages import Stages
from workers.workshop import Workshop

UNWELL_OF = 100


class WorldIsUnwell(WorldError):
    """Nothing is wrong with the job."""


def fetch(life: Life) -> None:
    if hash((life.ticket.job_id, life.ticket.epoch)) % UNWELL_OF == 0:
        reason = "the test wants it so"
        raise WorldIsUnwell(reason)


def upscale(_life: Life, _fetched: None) -> None:
    time.sleep(float(os.environ[PACE_VARIABLE]))


def store(life: Life, _enlarged: None) -> Ending:
    return Ending(ticket=life.ticket, state=JobState.SUCCEEDED, outcome='{"objects": []}')


if __name__ == "__main__":
    Workshop.stages = lambda _self: Stages(fetch=fetch, upscale=upscale, store=store)
    sys.exit(main())
