"""``enlarger triggers``: which objects become jobs when they arrive in a bucket."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli.options import arguments, as_json, endpoint

if TYPE_CHECKING:
    from scheduler.ledger.trigger_tables import Trigger

name_argument = click.argument("name")


@click.group()
def triggers() -> None:
    """Make jobs of what arrives in buckets.

    \b
    Examples:
      enlarger triggers add --bucket photos --prefix in/ --to s3://photos/enlarged/ --set scale=4
      enlarger triggers backfill photos-in
    """


@triggers.command()
@click.option("--name", help="What the rule is called; made of bucket and prefix if not given.")
@click.option("--bucket", required=True, help="Where objects arrive.")
@click.option("--prefix", default="", help="Only keys that begin so.")
@click.option("--suffix", multiple=True, help="Only keys that end so; again for more.")
@click.option("--glob", multiple=True, metavar="GLOB",
              help="Only these names or paths below the prefix; again for more.")  # fmt: skip
@click.option("--exclude", multiple=True, metavar="GLOB", help="Not these; again for more.")
@endpoint
@arguments
@click.option("--to", required=True, metavar="DEST",
              help="Where results go, e.g. s3://photos/out/{date}/{stem}.")  # fmt: skip
@click.option("--owner", default="", help="Who shares the fleet as one.")
@click.option("--priority", default=0, show_default=True, type=click.IntRange(-100, 100),
              help="Jobs with a higher one are served first.")  # fmt: skip
@click.option("--webhook", metavar="URL", help="Is told of the end of every job.")
def add(**fields: Any) -> None:  # noqa: ANN401 - a rule's fields, checked by name
    """Add a rule and print its name. What is in the bucket already takes `backfill`.

    Without --suffix and --glob, names with an image's suffix are meant. DEST is a folder, or an
    address with {dir}, {name}, {stem}, {ext}, {bucket}, {date} and {version} in it.

    \b
    Examples:
      enlarger triggers add --bucket photos --prefix in/ --to s3://photos/enlarged/
      enlarger triggers add --bucket scans --suffix .tif --to 's3://web/{date}/{dir}/{stem}' \\
          --endpoint fal-ai/seedvr/upscale/image --webhook https://example.org/done
    """
    from scheduler.cli.connection import connected
    from scheduler.triggers.rules import parse_rule, save

    given = {name: value for name, value in fields.items() if value is not None}
    given["set"] = given.pop("arguments")
    rule = parse_rule(given)
    with connected() as system:
        save(system.ledger, system.storage, rule, replace=False)
    click.echo(rule.name)


@triggers.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def apply(file: Path) -> None:
    """Add the rules of FILE, a YAML file, and change those that are there under their names.

    A rule has the names of the options of `add`. Rules that FILE does not name stay as they are.

    \b
    Example:
      enlarger triggers apply rules.yaml

    \b
    where rules.yaml holds
      triggers:
        - name: photos
          bucket: photos
          prefix: in/
          to: s3://photos/enlarged/{dir}/{stem}
          set: {scale: 4}
    """
    from scheduler.cli.connection import connected
    from scheduler.triggers.rules import parse_file, save

    found = parse_file(file.read_text("utf-8"))
    with connected() as system:
        for rule in found:
            click.echo(f"{rule.name}: {save(system.ledger, system.storage, rule, replace=True)}")


@triggers.command(name="list")
@as_json
def list_(*, as_json: bool) -> None:
    """List the rules, and how many jobs each has made.

    \b
    Example:
      enlarger triggers list --json
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import print_json, print_table, say
    from scheduler.ledger import triggers as ledger_triggers

    with connected() as system, system.ledger.begin() as session:
        counts = ledger_triggers.counts(session)
        found = [
            {**_described(each), "jobs": counts.get(each.id, 0)}
            for each in ledger_triggers.every(session)
        ]
    if as_json:
        for rule in found:
            print_json(rule)
        return
    if not found:
        say("There are no rules; `enlarger triggers add` makes one.")
        return
    print_table(
        ("name", "objects", "endpoint", "results", "state", "jobs"),
        [
            (rule["name"], _objects(rule), rule["endpoint"], rule["to"], rule["state"],
             f"{rule['jobs']:,}")
            for rule in found
        ],
    )  # fmt: skip


def _described(trigger: "Trigger") -> dict[str, Any]:
    return {
        "name": trigger.name,
        "bucket": trigger.bucket,
        "prefix": trigger.prefix,
        "suffix": trigger.suffixes,
        "glob": trigger.globs,
        "exclude": trigger.excludes,
        "endpoint": trigger.endpoint,
        "set": trigger.arguments,
        "to": trigger.destination,
        "owner": trigger.owner,
        "priority": trigger.priority,
        "webhook": trigger.webhook,
        "state": "paused" if trigger.paused else "active",
        "created_at": trigger.created_at,
    }


def _objects(rule: dict[str, Any]) -> str:
    wanted = [*(f"*{suffix}" for suffix in rule["suffix"]), *rule["glob"]]
    left_out = [f"not {pattern}" for pattern in rule["exclude"]]
    return "\n".join([f"s3://{rule['bucket']}/{rule['prefix']}", *wanted, *left_out])


@triggers.command()
@name_argument
def remove(name: str) -> None:
    """Let the rule NAME take nothing more. The jobs that it has made run on.

    \b
    Example:
      enlarger triggers remove photos-in
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import say
    from scheduler.triggers import rules

    with connected() as system:
        rules.remove(system.ledger, name)
    say("It is removed.")


@triggers.command()
@name_argument
def pause(name: str) -> None:
    """Let what arrives for the rule NAME wait, until `resume`. Nothing is lost meanwhile.

    \b
    Example:
      enlarger triggers pause photos-in
    """
    _pause(name, paused=True)


@triggers.command()
@name_argument
def resume(name: str) -> None:
    """Let the rule NAME, which was paused, go on with all that has arrived.

    \b
    Example:
      enlarger triggers resume photos-in
    """
    _pause(name, paused=False)


def _pause(name: str, *, paused: bool) -> None:
    from scheduler.cli.connection import connected
    from scheduler.cli.output import say
    from scheduler.ledger import batches
    from scheduler.ledger import triggers as ledger_triggers

    with connected() as system, system.ledger.begin() as session:
        changed = ledger_triggers.pause(session, name, paused=paused)
        batches.wake(session)
    done, before = ("Paused.", "It is paused already.") if paused else ("Resumed.", "It goes on.")
    say(done if changed else before)


@triggers.command()
@name_argument
@click.option("--watch", is_flag=True, help="Follow it to its end.")
def backfill(name: str, *, watch: bool) -> None:
    """Submit what is in the bucket already as a batch, and print the batch's id.

    The rule NAME decides what is meant; what it has taken before is left out. The scheduler lists
    the bucket, and goes on where it stood if it is interrupted; `enlarger watch` shows how far it
    is. Repeating the command while that goes on changes nothing.

    \b
    Example:
      enlarger watch $(enlarger triggers backfill photos-in)
    """
    import sys

    from scheduler.cli.connection import connected
    from scheduler.cli.follow import conclude, follow
    from scheduler.cli.output import say
    from scheduler.triggers import backfill as backfills

    with connected(running=True) as system:
        batch, new = backfills.start(system.ledger, system.storage, name)
        if not new:
            say("It is being read already.")
        if not watch:
            click.echo(str(batch))
        elif not conclude(system.desk, follow(system.desk, [batch]), as_json=False):
            sys.exit(1)


@triggers.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--retry", is_flag=True, help="Try them again, all or the IDs.")
@click.option("--drop", is_flag=True, help="Forget them, all or the IDs.")
@click.argument("ids", nargs=-1, type=int, metavar="[ID]...")
@as_json
def dead(ids: tuple[int, ...], limit: int, *, retry: bool, drop: bool, as_json: bool) -> None:
    """List the messages that could not be understood, newest first, with the reasons.

    \b
    Examples:
      enlarger triggers dead --json | jq -r .body
      enlarger triggers dead --retry 17
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import say
    from scheduler.ledger import triggers as ledger_triggers
    from scheduler.triggers import burial

    if retry and drop:
        reason = "--retry and --drop exclude each other"
        raise click.UsageError(reason)
    with connected() as system, system.ledger.begin() as session:
        if retry:
            tried, made = burial.retry(session, ids or None)
            say(f"Tried {tried} again, which made {made} jobs.")
        elif drop:
            say(f"Dropped {len(ledger_triggers.exhume(session, ids or None))}.")
        else:
            found = ledger_triggers.dead(session, limit=limit)
            rows = [
                {"id": each.id, "source": each.source, "reason": each.reason, "at": each.at,
                 "body": each.body}
                for each in found
            ]  # fmt: skip
            _print_dead(rows, as_json=as_json)


def _print_dead(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    from scheduler.cli.output import ago, print_json, print_table, say

    if as_json:
        for row in rows:
            print_json(row)
    elif rows:
        print_table(
            ("id", "when", "source", "reason"),
            [(str(row["id"]), ago(row["at"]), row["source"], row["reason"]) for row in rows],
        )
    else:
        say("There are none.")
