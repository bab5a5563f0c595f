"""Rules as people write them, and every check that can be made before one stands."""

import re
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from models import catalog
from scheduler import arguments
from scheduler.errors import (
    AccessDenied,
    AddressInvalid,
    NobodyReady,
    ObjectMissing,
    TriggerInvalid,
)
from scheduler.guard import parse_url
from scheduler.ledger import batches, fleet, intake, triggers
from scheduler.ledger.session import Ledger
from scheduler.ledger.trigger_tables import Trigger
from scheduler.manifests.rows import unstorable
from scheduler.storage import Storage
from scheduler.storage.address import s3_address
from scheduler.triggers.destination import target_of
from scheduler.triggers.loops import refuse_loops

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class Rule(BaseModel):
    """A rule, by the names that it has on the command line and in a file.

    Attributes:
        name: Lower-case letters, digits, dots, hyphens and underscores; what it is called by. Made
            of bucket and prefix where it is not given.
        bucket: Objects of this bucket become jobs,
        prefix: if their key begins so,
        suffix: ends in one of these (as written; if there are any),
        glob: matches one of these patterns (if there are any; against the name, or the path below
            the prefix's folder),
        exclude: and none of these. Without suffixes and globs, names with an image's suffix do.
        endpoint: The catalogue's id.
        set: The endpoint's arguments.
        to: Where the results go; see `scheduler.triggers.template`.
        owner: Who shares the fleet as one.
        priority: From -100 to 100; jobs with a higher one are served first.
        webhook: A URL that is told of every job's end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=f"^{NAME.pattern}$")
    bucket: str
    prefix: str = ""
    suffix: tuple[str, ...] = ()
    glob: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    endpoint: str = catalog.DEFAULT_ENDPOINT
    set: dict[str, Any] = {}
    to: str
    owner: str = ""
    priority: int = Field(default=0, ge=-100, le=100)
    webhook: str | None = None

    def columns(self) -> dict[str, Any]:
        """Return what the ledger keeps of it, by the columns' names."""
        return {
            "name": self.name,
            "owner": self.owner,
            "bucket": self.bucket,
            "prefix": self.prefix,
            "suffixes": list(self.suffix),
            "globs": list(self.glob),
            "excludes": list(self.exclude),
            "endpoint": self.endpoint,
            "arguments": self.set,
            "destination": self.to,
            "priority": self.priority,
            "webhook": self.webhook,
        }


def parse_rule(fields: Mapping[str, Any]) -> Rule:
    """Read a rule.

    Raises:
        TriggerInvalid: A field is missing, unknown, or of the wrong type or range.
    """
    try:
        rule = Rule.model_validate({"name": _name(fields), **fields})
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        name = ".".join(map(str, error["loc"]))
        known = ", ".join(Rule.model_fields)
        more = f"; the fields are {known}" if error["type"] == "extra_forbidden" else ""
        value = "" if error["type"] == "missing" else f"{error['input']!r}: "
        raise TriggerInvalid(f"{name}: {value}{error['msg']}{more}", field=name) from exc
    for name, value in rule:
        if any(unstorable(each) for each in ([value] if isinstance(value, str) else ())):
            raise TriggerInvalid(f"{name}: holds a NUL or half a character", field=name)
    return rule


def _name(fields: Mapping[str, Any]) -> str:
    """Return a name for a rule that has none, such as `photos-in` for `in/` of `photos`."""
    place = f"{fields.get('bucket', '')}-{fields.get('prefix', '')}".lower()
    return re.sub(r"[^a-z0-9._-]+", "-", place)[:63].strip("-._")


def parse_file(text: str) -> list[Rule]:
    """Read a YAML file of rules: a list of them, under the name `triggers`.

    Raises:
        TriggerInvalid: It is none, or one of them is wrong; the message says which.
    """
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as exc:
        raise TriggerInvalid(f"file: is no YAML: {exc}", field="file") from exc
    entries = found.get("triggers") if isinstance(found, dict) else None
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        reason = (
            "file: holds no list of rules; it begins with `triggers:` and a `- bucket:` for each"
        )
        raise TriggerInvalid(reason, field="file")
    rules = [_numbered(number, entry) for number, entry in enumerate(entries, start=1)]
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        reason = f"name: the file has two rules {twice!r}; give one of them another name"
        raise TriggerInvalid(reason, field="name")
    return rules


def _numbered(number: int, entry: Mapping[str, Any]) -> Rule:
    try:
        return parse_rule(entry)
    except TriggerInvalid as exc:
        raise TriggerInvalid(f"rule {number}: {exc}", field=exc.field) from exc


def save(ledger: Ledger, storage: Storage, rule: Rule, *, replace: bool) -> str:
    """Check a rule and write it down.

    Args:
        ledger: Where rules are kept.
        storage: Where its bucket and its destination are looked at.
        rule: The rule.
        replace: Change the rule of the same name, if there is one, instead of refusing.

    Returns:
        "added", "changed" or "unchanged".

    Raises:
        RequestError: The endpoint, an argument, the bucket or the destination won't do, or its
            results would be taken by a rule.
        WorldError: The ledger or a store is unwell; nothing was changed.
    """
    wanted = Trigger(id=uuid7(), **rule.columns())
    target = target_of(wanted)
    if rule.webhook is not None:
        parse_url(rule.webhook)
    _check_bucket(storage, wanted)
    storage.check_writable(target.template.folder)
    with ledger.begin() as session:
        triggers.lock(session)
        found = triggers.named(session, rule.name)
        if found is not None and not replace:
            reason = (
                f"name: there is a rule {rule.name!r} already; choose another name, remove it, or "
                "change it with `enlarger triggers apply`"
            )
            raise TriggerInvalid(reason, field="name")
        others = [each for each in triggers.every(session) if each.name != rule.name]
        refuse_loops(wanted, others)
        _check_fleet(session, wanted)
        return _write(session, found, wanted, rule)


def _write(session: Session, found: Trigger | None, wanted: Trigger, rule: Rule) -> str:
    if found is None:
        session.add(wanted)
        return "added"
    changes = {
        name: value for name, value in rule.columns().items() if getattr(found, name) != value
    }
    for name, value in changes.items():
        setattr(found, name, value)
    return "changed" if changes else "unchanged"


def _check_bucket(storage: Storage, trigger: Trigger) -> None:
    """Refuse a bucket that is not there; whether it may be listed is the backfill's concern."""
    try:
        place = s3_address(trigger.bucket, trigger.prefix)
        next(iter(storage.list(str(place))), None)
    except AddressInvalid as exc:
        raise TriggerInvalid(f"bucket: {exc}", field="bucket") from exc
    except ObjectMissing as exc:
        reason = f"bucket: there is no bucket {trigger.bucket!r}: {exc}"
        raise TriggerInvalid(reason, field="bucket") from exc
    except AccessDenied:
        return


def _check_fleet(session: Session, trigger: Trigger) -> None:
    checked = arguments.checked(trigger.endpoint, trigger.arguments)
    reason = fleet.obstacle(session, catalog.find(trigger.endpoint).pipeline_for(checked))
    if reason is not None:
        raise NobodyReady(f"endpoint: {reason}", field="endpoint")


def remove(ledger: Ledger, name: str) -> None:
    """Let a rule take nothing more, not even by a backfill; the jobs that it made run on.

    Raises:
        TriggerUnknown: There is no such rule.
    """
    with ledger.begin() as session:
        trigger_id = str(triggers.remove(session, name))
        for batch in batches.active(session):
            if batch.options.get("trigger") == trigger_id:
                intake.unreadable(session, batch.id, f"source: its rule {name!r} was removed")
