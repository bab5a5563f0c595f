"""A sample of a source's rows, drawn while all of them are counted, in constant memory."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from scheduler.manifests import Item, Rejected, Row

SEED = 20260723
"""Any constant: the same source has the same sample."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Some rows of a source, and what there are in all.

    Attributes:
        rows: By line.
        total: Rows that name an image, those in the sample among them.
        rejected: Rows that don't.
    """

    rows: list[Row]
    total: int
    rejected: int


def draw(entries: Iterable[Item], count: int) -> Sample:
    """Draw `count` rows, each as likely as any other; all of them where there are no more.

    A reservoir (J. S. Vitter, "Random sampling with a reservoir", 1985, algorithm R): the row
    number n takes the place of a random one with probability count / n.
    """
    chance = random.Random(SEED)  # noqa: S311 - no secret
    reservoir: list[Row] = []
    total = rejected = 0
    for entry in entries:
        if isinstance(entry, Rejected):
            rejected += 1
        elif isinstance(entry, Row):
            total += 1
            if total <= count:
                reservoir.append(entry)
            elif (place := chance.randrange(total)) < count:
                reservoir[place] = entry
    return Sample(rows=sorted(reservoir, key=lambda row: row.line), total=total, rejected=rejected)
