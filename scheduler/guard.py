"""Which places a user's URL may reach: public ones, and the networks that the operator names.

Whoever fetches what a user names stands inside of the operator's network, so a URL is hostile until
its spelling and every address of its host are checked (server-side request forgery). The caller
then connects to one of the checked addresses and not to the name, so that a name which resolves
differently a moment later gains nothing (DNS rebinding); and it checks every redirect anew.
"""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias
from urllib.parse import quote, urlsplit

from scheduler.errors import NameUnresolved, UrlRefused
from scheduler.settings import Network

Ip: TypeAlias = IPv4Address | IPv6Address

PORTS = {"http": 80, "https": 443}
CONFUSING = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
"""Where parsers disagree about the host: control characters, blanks, backslashes."""
HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?")
NUMERIC = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)\.?")
"""A host that ends in a number is an IPv4 address to somebody, however it is written."""
URL_CHARACTERS = 4096
SAFE = "/?&=%:@!$'()*+,;~-._[]"

NAT64 = IPv6Network("64:ff9b::/96")
INSIDE = (
    IPv6Network("fec0::/10"),  # site-local, deprecated
    IPv4Network("192.0.0.0/24"),  # where Oracle's cloud has its metadata
    IPv4Network("168.63.129.16/32"),  # Azure's, although a public address
)
"""What `ipaddress` takes for public and is not."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A URL whose spelling is beyond doubt.

    Attributes:
        scheme: "http" or "https".
        host: Lower-case ASCII name, or an address without brackets.
        port: From 1 to 65535.
        path: Path and query, percent-encoded, beginning with a slash.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The `Host` header: brackets around IPv6, the port where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: where it leads, without what is asked for there."""
        return f"{self.scheme}://{self.authority}"

    def __str__(self) -> str:
        return f"{self.origin}{self.path}"


def parse_url(url: str) -> Target:
    """Read a URL, and refuse every spelling that two parsers could read differently.

    Raises:
        UrlRefused: It is no absolute http(s) URL, carries a user name, or spells its host oddly.
    """
    if len(url) > URL_CHARACTERS:
        raise UrlRefused(f"the URL has {len(url)} characters; at most {URL_CHARACTERS} are read")
    if bad := CONFUSING.search(url):
        raise UrlRefused(f"{_shown(url)}: {bad[0]!r} is not allowed in a URL; percent-encode it")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise UrlRefused(f"{_shown(url)} is no URL: {exc}") from exc
    if parts.scheme not in PORTS:
        raise UrlRefused(f"{_shown(url)}: only http:// and https:// addresses are fetched")
    if "@" in parts.netloc:
        reason = f"{parts.scheme}://...: a user name or password in a URL is not used; remove it"
        raise UrlRefused(reason)
    if port == 0:
        raise UrlRefused(f"{_shown(url)}: port 0 is none")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        scheme=parts.scheme,
        host=_host(parts.hostname or "", url),
        port=port or PORTS[parts.scheme],
        path=quote(path, safe=SAFE),
    )


def _host(host: str, url: str) -> str:
    """Return a host in its one spelling.

    Raises:
        UrlRefused: It has several, or none.
    """
    if "%" in host:
        raise UrlRefused(f"{_shown(url)}: percent signs and zones are not allowed in a host")
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode().lower()
    except UnicodeError as exc:
        raise UrlRefused(f"{_shown(url)}: {host!r} is no host name") from exc
    if NUMERIC.fullmatch(name):
        reason = f"{_shown(url)}: write {host!r} as four decimal numbers: 192.0.2.1"
        raise UrlRefused(reason)
    if not HOST.fullmatch(name) or len(name) > 253:
        raise UrlRefused(f"{_shown(url)}: {host!r} is no host name")
    return name


def resolve(target: Target, allowed: Sequence[Network]) -> list[Ip]:
    """Look a target's host up, and return its addresses if every one of them may be reached.

    Raises:
        UrlRefused: One of them is not public, and the operator allows no network that holds it.
        NameUnresolved: The name has no address, or nobody could say; so nothing is reached.
    """
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise NameUnresolved(f"{target.host}: its address is not known: {exc}") from exc
    addresses = list(dict.fromkeys(ip_address(str(each[4][0])) for each in found))
    if not addresses:
        raise NameUnresolved(f"{target.host}: has no address")
    for address in addresses:
        check_address(address, target.host, allowed)
    return addresses


def check_address(address: Ip, host: str, allowed: Sequence[Network]) -> None:
    """Refuse an address that is not public, unless a network of `allowed` holds it.

    Raises:
        UrlRefused: It is private, loopback, link-local, shared, reserved, or wraps such a one.
    """
    if all(
        is_public(form) or any(form in network for network in allowed) for form in embedded(address)
    ):
        return
    reason = (
        f"{host} is {address}, which is not a public address; an operator who means it allows "
        "its network by name"
    )
    raise UrlRefused(reason)


def embedded(address: Ip) -> list[Ip]:
    """Return an address and the IPv4 ones that it stands for (mapped, NAT64, 6to4, Teredo)."""
    if isinstance(address, IPv4Address):
        return [address]
    inner: list[IPv4Address | None] = [address.ipv4_mapped, address.sixtofour]
    if address.teredo is not None:
        inner += address.teredo
    if address in NAT64:
        inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
    if int(address) >> 32 == 0 and int(address) > 1:  # the deprecated ::a.b.c.d
        inner.append(IPv4Address(int(address)))
    return [address, *(each for each in inner if each is not None)]


def is_public(address: Ip) -> bool:
    """Whether anybody on the internet has this address."""
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address in NAT64):
        return True  # what counts is the address inside
    if any(address in network for network in INSIDE):
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def _shown(url: str) -> str:
    """Shorten a URL for a message, without its query: that may be a secret."""
    plain = url.partition("?")[0]
    return repr(plain if len(plain) <= 100 else plain[:100] + "...")
