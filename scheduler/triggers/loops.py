"""Rules whose results a rule would take: refused when they are made.

Results are never enlarged again, so such a rule could only fail; and what is no result of anybody's
can't go round in circles, through however many rules.
"""

import re
from collections.abc import Sequence

from models.errors import RequestError
from scheduler.errors import TriggerInvalid
from scheduler.ledger.trigger_tables import Trigger
from scheduler.manifests.rows import IMAGE_SUFFIXES
from scheduler.storage.address import parse_address
from scheduler.triggers.destination import Target, target_of
from scheduler.triggers.filters import root_of

WILD = re.compile(r"[*?\[\]]")


def refuse_loops(wanted: Trigger, others: Sequence[Trigger]) -> None:
    """Refuse a rule whose results it, or another rule, would take; or that takes another's.

    Args:
        wanted: The new or changed rule.
        others: All other rules.

    Raises:
        RequestError: So it is; the message names both rules and what to change. Or its own
            destination won't do.
    """
    target = target_of(wanted)
    for reader in (wanted, *others):
        if _may_take(reader, target):
            raise _loop(wanted, reader, target)
    for writer in others:
        theirs = _target(writer)
        if theirs is not None and _may_take(wanted, theirs):
            raise _loop(writer, wanted, theirs)


def _target(trigger: Trigger) -> Target | None:
    """Return where a rule's results go; None where it makes none, since its endpoint is gone."""
    try:
        return target_of(trigger)
    except RequestError:
        return None


def _may_take(reader: Trigger, target: Target) -> bool:
    """Tell whether a rule could mean a result; what can't be known counts as yes."""
    place = parse_address(target.template.folder)
    if place.scheme != "s3" or place.bucket != reader.bucket:
        return False
    beginning = place.key + target.template.parts[0][0]
    if not _one_begins_with_other(beginning, reader.prefix):
        return False
    if any(_leaves_out(pattern, beginning, root_of(reader)) for pattern in reader.excludes):
        return False
    ends = [WILD.split(pattern)[-1] for pattern in reader.globs]
    if not reader.suffixes and not reader.globs:
        ends = [*IMAGE_SUFFIXES]
    return all(
        any(_one_ends_with_other(end, f".{target.suffix}") for end in some)
        for some in (ends, reader.suffixes)
        if some
    )


def _leaves_out(pattern: str, beginning: str, root: str) -> bool:
    """Tell whether an exclusion such as `enlarged/*` holds for all keys that begin so."""
    fixed = pattern.removesuffix("*")
    if fixed == pattern or WILD.search(fixed):
        return False
    return beginning.startswith(root + fixed)


def _one_begins_with_other(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _one_ends_with_other(one: str, other: str) -> bool:
    return one.endswith(other) or other.endswith(one)


def _loop(writer: Trigger, reader: Trigger, target: Target) -> TriggerInvalid:
    whose = "itself" if writer is reader else f"the rule {reader.name!r}"
    return TriggerInvalid(
        f"to: results of the rule {writer.name!r}, at {target.template.beginning}, would be taken "
        f"by {whose} (s3://{reader.bucket}/{reader.prefix}), and results are never enlarged again; "
        "choose another bucket or folder, or leave it out with --exclude 'FOLDER/*'",
        field="to",
    )
