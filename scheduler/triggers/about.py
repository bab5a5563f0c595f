"""What a rule's batches and jobs say of the rule and of the arrival."""

from typing import Any

from scheduler.ledger.trigger_tables import Trigger
from scheduler.triggers.arrival import Arrival


def options_of(trigger: Trigger) -> dict[str, Any]:
    """Return the options of a batch of a rule's jobs; by `trigger`, workers refuse our results."""
    options = {"in_place": False, "only_if_absent": False, "trigger": str(trigger.id)}
    # So that the jobs for another webhook are another batch, which has its own subscription.
    return options if trigger.webhook is None else {**options, "webhook": trigger.webhook}


def about(trigger: Trigger, arrival: Arrival) -> dict[str, Any]:
    """Return the column that a job's results have beside those of every job.

    A single one: what its parts are called may be a column of manifests, which a retry would read.
    """
    return {
        "trigger": {
            "name": trigger.name,
            "version_id": arrival.version,
            "etag": arrival.etag,
            "arrived_at": arrival.at.isoformat(),
        }
    }
