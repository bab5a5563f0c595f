"""Addresses as people read them."""

import os

from scheduler.storage.address import parse_address


def readable(address: str) -> str:
    """Return a local path, relative to the working folder where that is shorter, or the address."""
    place = parse_address(address)
    if place.scheme != "file":
        return address
    relative = os.path.relpath(place.key)
    slash = "/" if place.is_folder else ""
    return min(place.key, relative + slash, key=len)
