"""The kinds of addresses that Enlarger reads and writes, and how they are spelt.

``s3://bucket/key``
    The key is literal: nothing in it is decoded or normalised, so ``?``, ``#``, ``%``, ``//`` and
    ``..`` are ordinary characters of a name. A version id is therefore never part of the address;
    it is an argument of its own.
``file:///folder/name``
    Percent-encoded bytes of an absolute path, so that every file name fits in plain ASCII, even
    one that is no UTF-8. ``..`` is refused; ``.`` and ``//`` name the same file and are dropped.
``https://host/path?query`` and ``http://``
    Only read, and only what `scheduler.guard` lets through.

An address that ends in ``/`` (or a bare bucket) names a folder.
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from scheduler.errors import AddressInvalid, UrlRefused
from scheduler.guard import PORTS, parse_url

BUCKET = re.compile(r"[a-zA-Z0-9.\-_]{1,255}")
"""What S3 and its look-alikes accept between them; AWS itself is stricter."""
KEY_BYTES = 1024
"""S3's limit for a key in UTF-8."""
PLAIN = re.compile(r"s3://[a-zA-Z0-9.\-_]{1,255}/.*[^/]", re.DOTALL)
"""An address that is in order if it is ASCII and no longer than a key may be."""
READABLE = "/!$&'()*+,;=:@~"
"""Stays as it is in a file:// address; everything else beyond letters and digits is encoded."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where one object or folder is.

    Attributes:
        scheme: The kind of store.
        bucket: The S3 bucket, or the host and port; empty for files.
        key: The literal S3 key, or the decoded absolute path, or a URL's path without its first
            slash, with its query.
    """

    scheme: Literal["s3", "file", "http", "https"]
    bucket: str
    key: str

    def __str__(self) -> str:
        if self.scheme != "file":
            return f"{self.scheme}://{self.bucket}/{self.key}"
        return "file://" + quote(os.fsencode(self.key), safe=READABLE)

    @property
    def is_folder(self) -> bool:
        """Whether the address names a folder (prefix) rather than one object."""
        return not self.name

    @property
    def is_web(self) -> bool:
        """Whether this is a URL, which can only be read."""
        return self.scheme in PORTS

    @property
    def name(self) -> str:
        """The part after the last slash; empty for a folder. A URL's query is no part of it."""
        key = self.key.partition("?")[0] if self.is_web else self.key
        return key.rpartition("/")[2]

    def folder(self) -> "Address":
        """Return the same address as a folder, with the slash at its end."""
        key = self.key if self.is_folder else self.key + "/"
        return Address(scheme=self.scheme, bucket=self.bucket, key=key)

    def parent(self) -> "Address":
        """Return the folder that holds this object."""
        key = self.key[: len(self.key) - len(self.name)]
        return Address(scheme=self.scheme, bucket=self.bucket, key=key)

    def child(self, relative: str) -> "Address":
        """Return what `relative` names in this folder.

        Raises:
            AddressInvalid: On ``file://`` the name is absolute or has a ``..``; on ``s3://`` the
                key is longer than S3 allows.
        """
        if self.scheme == "s3":
            return s3_address(self.bucket, self.folder().key + relative)
        if self.is_web:
            return replace(self, key=self.folder().key + quote(relative))
        if relative.startswith("/"):
            reason = f"{relative!r} is absolute; write a path relative to {self.folder()}"
            raise AddressInvalid(reason)
        return file_address(self.folder().key + relative)

    def relative_to(self, root: "Address") -> str | None:
        """Return the rest of this address after the folder `root`; None if it is not below it."""
        start = root.folder().key
        if (self.scheme, self.bucket) != (root.scheme, root.bucket):
            return None
        if not self.key.startswith(start) or self.key == start:
            return None
        return self.key[len(start) :]


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        AddressInvalid: It is none; the message says how it should be written.
    """
    scheme, mark, rest = text.partition("://")
    if mark and scheme == "s3":
        bucket, _, key = rest.partition("/")
        return s3_address(bucket, key)
    if mark and scheme == "file":
        return _parse_file(text, rest)
    if mark and scheme in PORTS:
        return _parse_web(text)
    raise AddressInvalid(_advice(text))


def object_address(text: str) -> str:
    """Return the address of one object in its only spelling, as manifests need it by the million.

    Raises:
        AddressInvalid: It is no address, or that of a folder.
    """
    if len(text) <= KEY_BYTES and text.isascii() and PLAIN.fullmatch(text):
        return text
    place = parse_address(text)
    if place.is_folder:
        raise AddressInvalid(f"{text!r} names a folder; name one image")
    return str(place)


def address_of(text: str) -> str:
    """Return the address that a person means on a command line: a local path or an address.

    A path is taken from the working folder, `~` is the home folder, and a slash at the end stays.

    Raises:
        AddressInvalid: The text is empty or an address of a kind that is not read.
    """
    if re.match(r"(?i)(s3|file):|[a-z][a-z0-9+.\-]*://", text) or not text.strip():
        return str(parse_address(text))
    path = os.path.abspath(Path(text).expanduser())  # noqa: PTH100 - drops `..` without following links
    place = file_address(path)
    return str(place.folder() if text.endswith("/") else place)


def s3_address(bucket: str, key: str) -> Address:
    """Return the address of a literal key.

    Raises:
        AddressInvalid: The bucket's name is impossible, or the key is too long or no Unicode text.
    """
    if not BUCKET.fullmatch(bucket):
        reason = f"s3://{bucket}/{key}: {bucket!r} is no bucket name; write s3://bucket/key"
        raise AddressInvalid(reason)
    try:
        length = len(key.encode())
    except UnicodeEncodeError as exc:
        reason = f"s3://{bucket}/: the key {key!a} is no Unicode text, which S3 asks for; rename it"
        raise AddressInvalid(reason) from exc
    if length > KEY_BYTES:
        reason = f"s3://{bucket}/{key[:40]}...: the key has {length} bytes; S3 allows {KEY_BYTES}"
        raise AddressInvalid(reason)
    return Address(scheme="s3", bucket=bucket, key=key)


def file_address(path: str) -> Address:
    """Return the address of an absolute path, with ``.`` and doubled slashes dropped.

    Raises:
        AddressInvalid: The path is relative, holds a NUL, or has a ``..`` segment.
    """
    if not path.startswith("/"):
        reason = f"{path!r} is relative; a file address has the whole path: file:///folder/name"
        raise AddressInvalid(reason)
    if "\0" in path:
        reason = f"{path!r} holds a NUL character, which no file name can have"
        raise AddressInvalid(reason)
    parts = path.split("/")
    if ".." in parts:
        reason = f"{path!r} has a '..', which could leave its folder; write the path without it"
        raise AddressInvalid(reason)
    kept = [part for part in parts if part not in ("", ".")]
    slash = "/" if kept and parts[-1] in ("", ".") else ""
    return Address(scheme="file", bucket="", key="/" + "/".join(kept) + slash)


def _parse_file(text: str, rest: str) -> Address:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        reason = f"{text}: a file address has no host; write three slashes: file:///folder/name"
        raise AddressInvalid(reason)
    if bad := re.search(r"%(?![0-9A-Fa-f]{2}).{0,2}", path):
        reason = f"{text}: {bad[0]!r} is no percent-encoding; write a percent sign itself as %25"
        raise AddressInvalid(reason)
    try:
        decoded = os.fsdecode(unquote_to_bytes(path))
    except UnicodeEncodeError as exc:
        reason = f"{text!a}: holds half a character (a lone surrogate); encode the name's bytes"
        raise AddressInvalid(reason) from exc
    return file_address("/" + decoded)


def _parse_web(text: str) -> Address:
    try:
        target = parse_url(text)
    except UrlRefused as exc:
        raise AddressInvalid(str(exc)) from exc
    scheme: Literal["http", "https"] = "http" if target.scheme == "http" else "https"
    return Address(scheme=scheme, bucket=target.authority, key=target.path.removeprefix("/"))


def _advice(text: str) -> str:
    """Say what is wrong with a text that is no address."""
    if not text.strip():
        return "the address is empty; write s3://bucket/key or file:///folder/name"
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.\-]*):", text)
    if scheme is None:
        return f"{text!r} is no address; write s3://bucket/key or file:///folder/name"
    if scheme[1] in ("s3", "file"):
        return f"{text!r}: after {scheme[0]!r} come two slashes: s3://bucket/key, file:///folder"
    if scheme[1].lower() in ("s3", "file"):
        return f"{text!r}: write the scheme in lower case, {scheme[1].lower()}://"
    if scheme[1].lower() in PORTS:
        return f"{text!r}: write it as {scheme[1].lower()}://host/path"
    return f"{text!r}: {scheme[1]}: addresses are not read; use s3://bucket/key or file:///folder"
