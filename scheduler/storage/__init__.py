"""``s3://bucket/key`` and ``file:///path`` behind one small interface."""

from scheduler.storage.address import Address, address_of, parse_address
from scheduler.storage.objects import Blob, ObjectInfo, Stored
from scheduler.storage.storage import Storage, open_storage

__all__ = [
    "Address",
    "Blob",
    "ObjectInfo",
    "Storage",
    "Stored",
    "address_of",
    "open_storage",
    "parse_address",
]
