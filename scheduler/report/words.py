"""Numbers, sizes and hostile names as a page shows them."""

import os
from html import escape
from urllib.parse import quote

from scheduler.storage import parse_address

THIN = "\N{NARROW NO-BREAK SPACE}"


def count(number: int) -> str:
    """Return a number in groups of three digits."""
    return f"{number:,}".replace(",", THIN)


def size(size_bytes: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    if size_bytes < 1000:
        return f"{size_bytes}{THIN}B"
    number = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.{1 if number < 99.95 else 0}f}{THIN}{unit}"
        number /= 1000
    return f"{number:.1f}{THIN}TB"


def duration(seconds: float) -> str:
    """Return a time in at most two units."""
    if seconds < 59.95:
        return f"{seconds:.{2 if seconds < 9.995 else 1}f}{THIN}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{THIN}min {whole % 60}{THIN}s"
    return f"{whole // 3600}{THIN}h {whole % 3600 // 60}{THIN}min"


def pixels(width: int, height: int) -> str:
    """Return a picture's size."""
    return f"{width}{THIN}\N{MULTIPLICATION SIGN}{THIN}{height}"


def text(value: object) -> str:
    """Return a text as harmless HTML, unable to turn the direction of what surrounds it."""
    letters = " ".join(str(value).splitlines())
    visible = "".join(x if x.isprintable() else "\N{REPLACEMENT CHARACTER}" for x in letters)
    return f"<bdi>{escape(visible)}</bdi>"


def name(address: str, folder: str) -> str:
    """Return an object's name as people know it: its path below a folder, else its address."""
    below = parse_address(address).relative_to(parse_address(folder))
    return place(address) if below is None else _decoded(below)


def place(address: str) -> str:
    """Return an address as people write it: for files their path."""
    found = parse_address(address)
    return address if found.scheme == "s3" else _decoded(found.key)


def _decoded(path: str) -> str:
    """Return a name with what is no Unicode text replaced."""
    return os.fsencode(path).decode(errors="replace")


def link(address: str, destination: str) -> str | None:
    """Return the relative link from a page at `destination` to an object; None if not below it."""
    relative = parse_address(address).relative_to(parse_address(destination))
    if relative is None:
        return None
    # The dot keeps a name like "javascript:x" or "//host" from being read as an address.
    return "./" + quote(os.fsencode(relative))
