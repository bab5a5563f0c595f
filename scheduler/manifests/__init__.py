"""Where a batch's rows come from: manifests, folders, prefixes and single images."""

from scheduler.manifests.dialect import Dialect, Encoding
from scheduler.manifests.kinds import open_source
from scheduler.manifests.rows import (
    IMAGE_SUFFIXES,
    Cursor,
    Item,
    Rejected,
    Row,
    Skipped,
    Source,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "Cursor",
    "Dialect",
    "Encoding",
    "Item",
    "Rejected",
    "Row",
    "Skipped",
    "Source",
    "open_source",
]
