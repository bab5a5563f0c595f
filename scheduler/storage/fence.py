"""Which addresses an order over HTTP may name: those below places that the operator names.

Workers and schedulers read and write with the operator's credentials. A key to the API is no leave
to read every bucket and file that they reach.
"""

import os
from collections.abc import Sequence

from scheduler.errors import PlaceForbidden
from scheduler.storage.address import Address, parse_address


def check(address: str, places: Sequence[str], *, field: str = "source") -> None:
    """Refuse an address that lies below none of the places.

    URLs are let through here: the guard sees to them when they are fetched.

    Args:
        address: What an order, or a row of its manifest, names.
        places: Addresses of folders, prefixes or objects.
        field: What the address was given as, for the message.

    Raises:
        AddressInvalid: It is none.
        PlaceForbidden: So it is.
    """
    place = parse_address(address)
    if place.is_web or any(_holds(parse_address(allowed), place) for allowed in places):
        return
    named = ", ".join(places) or "none is"
    reason = (
        f"{field}: {address} is not below a place that batches over HTTP may name ({named}); an "
        "operator allows it by ENLARGER_API_PLACES"
    )
    raise PlaceForbidden(reason, field=field)


def _holds(allowed: Address, place: Address) -> bool:
    """Tell whether a place is, or lies below, what is allowed, links on ``file://`` followed."""
    if (allowed.scheme, allowed.bucket) != (place.scheme, place.bucket):
        return False
    if place.scheme == "file":
        folder, real = os.path.realpath(allowed.key), os.path.realpath(place.key)
        return os.path.commonpath([folder, real]) == folder
    if place == allowed or place.folder() == allowed.folder():
        return True
    return not allowed.key or place.relative_to(allowed) is not None
