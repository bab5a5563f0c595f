"""Which objects a rule means."""

from scheduler.ledger.trigger_tables import Trigger
from scheduler.manifests.globs import Globs
from scheduler.triggers.arrival import Arrival


def root_of(trigger: Trigger) -> str:
    """Return the key of the folder that a rule's names are relative to."""
    return trigger.prefix[: trigger.prefix.rfind("/") + 1]


def means(trigger: Trigger, arrival: Arrival) -> bool:
    """Tell whether a rule means an object.

    Folder markers, empty objects and results of ours are never meant. Without suffixes and globs,
    a name with an image's suffix is.
    """
    if arrival.is_result or arrival.size == 0 or arrival.key.endswith("/"):
        return False
    if arrival.bucket != trigger.bucket or not arrival.key.startswith(trigger.prefix):
        return False
    if trigger.suffixes and not arrival.key.endswith(tuple(trigger.suffixes)):
        return False
    return _globs(trigger).match(arrival.key.removeprefix(root_of(trigger)))


def _globs(trigger: Trigger) -> Globs:
    include = trigger.globs or (["*"] if trigger.suffixes else [])
    return Globs(include, trigger.excludes)
