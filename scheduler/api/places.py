"""Which area of the API a request is for, and under which addresses its caller sees the server.

fal spreads its API over four hosts. We serve all of it from one process: by the name of the host
where that is one of fal's, else by the first segment of the path.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from scheduler.settings import Settings


class Area(StrEnum):
    """A part of the API; the value is also the first segment of its paths."""

    QUEUE = "queue"
    RUN = "run"
    REST = "rest"
    CDN = "cdn"


FAL_HOSTS = {
    "queue.fal.run": Area.QUEUE,
    "queue.falrun.com": Area.QUEUE,
    "fal.run": Area.RUN,
    "falrun.com": Area.RUN,
    "rest.fal.ai": Area.REST,
    "rest.alpha.fal.ai": Area.REST,
    "v3.fal.media": Area.CDN,
}
FAL_HOST_OF = {
    Area.QUEUE: "queue.fal.run",
    Area.RUN: "fal.run",
    Area.REST: "rest.fal.ai",
    Area.CDN: "v3.fal.media",
}
HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


@dataclass(frozen=True, kw_only=True)
class Bases:
    """The beginning of every address that is handed out, without a slash at the end."""

    scheme: str
    host: str
    by_host: bool = False
    public_url: str | None = None

    def of(self, area: Area) -> str:
        """Return the address of an area, as the caller sees it."""
        if self.public_url is not None:
            return f"{self.public_url}/{area.value}"
        if self.by_host:
            return f"{self.scheme}://{FAL_HOST_OF[area]}"
        return f"{self.scheme}://{self.host}/{area.value}"


class Places:
    """The hosts that select an area, with the operator's aliases of them."""

    def __init__(self, settings: Settings) -> None:
        self._areas = FAL_HOSTS | {
            host.lower(): Area(area) for host, area in settings.api_hosts.items()
        }
        self._public_url = settings.public_url.rstrip("/") if settings.public_url else None
        self._public = urlsplit(self._public_url) if self._public_url else None

    def area_of(self, host: str) -> Area | None:
        """Return the area that a host's name selects; None where the path does."""
        return self._areas.get(host) or self._areas.get(host.partition(":")[0].lower())

    def bases(self, *, scheme: str, host: str) -> Bases:
        """Return the addresses for a caller who reached us by this scheme and host."""
        return Bases(
            scheme=scheme,
            host=host,
            by_host=self.area_of(host) is not None,
            public_url=self._public_url,
        )

    def inside(self, target: str, *, host: str) -> tuple[str, str] | None:
        """Return path and query, in our layout, of a full address; None where it is not ours.

        Args:
            target: What a client wants to be reached for it.
            host: The host that the request itself came to.
        """
        try:
            parts = urlsplit(target)
            area = self.area_of(parts.netloc)
        except ValueError:
            return None
        if parts.scheme not in ("http", "https") or "@" in parts.netloc:
            return None
        if area in (Area.QUEUE, Area.RUN, Area.REST):
            return f"/{area.value}{parts.path}", parts.query
        path = self._own_path(parts, host)
        if path is None or path.split("/")[1:2] not in (["queue"], ["run"], ["rest"]):
            return None
        return path, parts.query

    def _own_path(self, parts: SplitResult, host: str) -> str | None:
        """Return the path below our own address; None for others'."""
        if parts.netloc == host:
            return parts.path
        if self._public is not None and parts.netloc == self._public.netloc:
            prefix = self._public.path
            return parts.path[len(prefix) :] if parts.path.startswith(prefix + "/") else None
        return None


def is_host(text: str) -> bool:
    """Tell whether a text is the name or address of a host, perhaps with a port."""
    return HOST.fullmatch(text) is not None


def header(headers: Mapping[bytes, bytes], name: bytes) -> str:
    """Return a header as text, empty where there is none."""
    return headers.get(name, b"").decode("latin-1").strip()
