"""Where a rule's results go: an address with placeholders, checked when the rule is made.

``s3://photos/enlarged/{date}/{dir}/{stem}`` begins with a folder that stands fixed; whatever a key
may hold, its result stays below that. An address without placeholders is a folder, and stands for
``FOLDER/{dir}/{name}``, so that ``cat.jpg`` and ``cat.png`` don't meet in one result.
"""

from dataclasses import dataclass
from string import Formatter
from typing import TypeAlias

from models.schema import OutputFormat
from scheduler.errors import AddressInvalid, TriggerInvalid
from scheduler.naming import SUFFIX
from scheduler.storage.address import parse_address
from scheduler.triggers.arrival import Arrival

PLACEHOLDERS = {
    "dir": "the object's folders below the rule's prefix",
    "name": "its name",
    "stem": "its name without the suffix",
    "ext": "the suffix of the result's format",
    "bucket": "its bucket",
    "date": "the day on which it arrived, in UTC: 2026-11-24",
    "version": "its version id, or its ETag where the bucket keeps no versions",
}
DEFAULT = "{dir}/{name}"

Part: TypeAlias = tuple[str, str | None]
"""A fixed text, and the placeholder behind it."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """A destination, taken apart.

    Attributes:
        folder: The address of the folder that no result leaves.
        parts: What stands below it.
    """

    folder: str
    parts: tuple[Part, ...]

    @property
    def beginning(self) -> str:
        """The address that all results begin with."""
        return self.folder + self.parts[0][0]

    @property
    def tells_versions_apart(self) -> bool:
        """Whether each version of an object has a result of its own."""
        return any(name == "version" for _, name in self.parts)

    def fill(self, arrival: Arrival, *, root: str, suffix: str) -> str:
        """Return where an object's result goes, relative to the folder.

        Args:
            arrival: The object.
            root: The key of the folder that `{dir}` begins at.
            suffix: Of the result's format; appended unless the name ends in it.
        """
        values = _values(arrival, root, suffix)
        text = ""
        for fixed, name in self.parts:
            # An object in the root itself has no folders: their slash goes with them.
            text += fixed.removeprefix("/") if not text or text.endswith("/") else fixed
            text += values[name] if name is not None else ""
        return text if text.endswith(f".{suffix}") else f"{text}.{suffix}"


def parse_template(text: str, *, suffix: str) -> Template:
    """Read a destination.

    Args:
        text: An address, with or without placeholders; a brace itself is written twice.
        suffix: Of the result's format.

    Raises:
        TriggerInvalid: It has an unknown placeholder, no fixed folder, or the suffix of another
            format; or it is no address that can be written to.
    """
    parts = _parts(text)
    if all(name is None for _, name in parts):
        plain = "".join(fixed for fixed, _ in parts)
        parts = [*_parts(DEFAULT)]
        parts[0] = (plain.rstrip("/") + "/" + parts[0][0], parts[0][1])
    folder, slash, rest = parts[0][0].rpartition("/")
    template = Template(folder=folder + slash, parts=((rest, parts[0][1]), *parts[1:]))
    _check_folder(template.folder, text)
    _check_end(template, text, suffix)
    return template


def _parts(text: str) -> list[Part]:
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as exc:
        reason = f"to: {text!r}: {exc}; a brace itself is written twice, {{{{ or }}}}"
        raise TriggerInvalid(reason, field="to") from exc
    for _, name, spec, conversion in parsed:
        if name is not None and (name not in PLACEHOLDERS or spec or conversion):
            known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
            reason = f"to: {text!r}: {{{name}}} is no placeholder; there are {known}"
            raise TriggerInvalid(reason, field="to")
    return [(fixed, name) for fixed, name, _, _ in parsed] or [("", None)]


def _check_folder(folder: str, text: str) -> None:
    try:
        place = parse_address(folder)
    except AddressInvalid as exc:
        reason = (
            f"to: {text!r} has to begin with an address and a slash before the first placeholder, "
            f"such as s3://bucket/ or file:///folder/: {exc}"
        )
        raise TriggerInvalid(reason, field="to") from exc
    if place.is_web:
        reason = f"to: {text!r} is a web address; results go to s3:// or file://"
        raise TriggerInvalid(reason, field="to")


def _check_end(template: Template, text: str, suffix: str) -> None:
    """Refuse a suffix that promises another format than the endpoint makes."""
    end, name = template.parts[-1]
    found = SUFFIX.search("x" + end) if name is None else None
    formats = {*(each.value for each in OutputFormat), "jpeg"}
    if found is not None and found[0][1:].lower() in formats and found[0] != f".{suffix}":
        reason = (
            f"to: {text!r} ends in {found[0]}, and the results are .{suffix}; write {{ext}}, or "
            "set the endpoint's output_format"
        )
        raise TriggerInvalid(reason, field="to")


def _values(arrival: Arrival, root: str, suffix: str) -> dict[str, str]:
    folders, _, name = arrival.key.removeprefix(root).rpartition("/")
    return {
        "dir": folders,
        "name": name,
        "stem": SUFFIX.sub("", name),
        "ext": suffix,
        "bucket": arrival.bucket,
        "date": f"{arrival.at:%Y-%m-%d}",
        "version": arrival.version or arrival.etag,
    }
