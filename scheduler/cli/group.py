"""The group of all commands: it knows their names, and imports one only when it is called.

So `enlarger --help` costs next to nothing. Here also ends every error of ours: as one line.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from models.errors import EnlargerError
from models.version import VERSION

INTERRUPTED = 130
"""What shells answer for a command that was ended by Ctrl-C."""


class LazyGroup(click.Group):
    """A group whose commands lie in modules of their own.

    Args:
        lazy: For each command, in the order of the help: where it is (`module:name`), and its
            line in the help.
    """

    def __init__(self, *, lazy: Mapping[str, tuple[str, str]], **rest: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(**rest)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in their order of use."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._lazy:
            return None
        module, _, name = self._lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._lazy.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called; suggest one where there is none."""
        if args and args[0] not in self._lazy and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}.{_suggestion(args[0], list(self._lazy))}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own
        """Run a command; an error of ours becomes one line, Ctrl-C an exit code."""
        try:
            return super().invoke(ctx)
        except EnlargerError as exc:
            raise click.ClickException(str(exc)) from exc
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


def _suggestion(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else " `enlarger --help` lists them."


def _remember_api(ctx: click.Context, _parameter: click.Parameter, url: str | None) -> None:
    """Let the commands about batches ask an API instead of the ledger."""
    if url is None or ctx.resilient_parsing:
        return
    from scheduler.remote import RemoteDesk

    ctx.obj = RemoteDesk(url, key=ctx.params.get("key") or "")


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"enlarger {VERSION}")
        ctx.exit()


COMMANDS = {
    "run": ("scheduler.cli.run:run", "Enlarge images on this machine; nothing else is needed."),
    "up": ("scheduler.cli.up:up", "Serve requests over HTTP, all of it on this machine."),
    "submit": ("scheduler.cli.submit:submit", "Hand a source to a running system."),
    "status": ("scheduler.cli.status:status", "Show where batches stand."),
    "watch": ("scheduler.cli.watch:watch", "Follow a batch until it has ended."),
    "results": ("scheduler.cli.results:results", "Print every row of a batch with its outcome."),
    "retry": ("scheduler.cli.retry:retry", "Try again what failed or was cancelled."),
    "cancel": ("scheduler.cli.cancel:cancel", "Let nothing more of a batch start."),
    "pause": ("scheduler.cli.steer:pause", "Let nothing of a batch start for a while."),
    "resume": ("scheduler.cli.steer:resume", "Let a paused batch go on."),
    "prioritize": ("scheduler.cli.steer:prioritize", "Serve a batch earlier or later."),
    "prune": ("scheduler.cli.prune:prune", "Drop what is older than the settings keep."),
    "triggers": ("scheduler.cli.triggers:triggers", "Make jobs of what arrives in buckets."),
    "workers": ("scheduler.cli.workers:workers", "List the workers that are alive."),
    "endpoints": ("scheduler.cli.endpoints:endpoints", "List the upscalers, or explain one."),
    "weights": ("scheduler.cli.weights:weights", "List, bring and check the models' weights."),
    "webhooks": ("scheduler.cli.webhooks:webhooks", "Tell others of jobs and batches."),
    "scheduler": ("scheduler.cli.serve:scheduler", "Be a scheduler until stopped."),
    "sender": ("scheduler.cli.serve:sender", "Send webhooks until stopped."),
    "worker": ("scheduler.cli.serve:worker", "Be this host's workers until stopped."),
    "events": ("scheduler.cli.serve:events", "Take buckets' events from queues until stopped."),
    "api": ("scheduler.cli.api:api", "Serve requests over HTTP until stopped."),
    "buckets": ("scheduler.cli.buckets:buckets", "Make buckets in the S3 store."),
    "keys": ("scheduler.cli.keys:keys", "Make, list and revoke keys to the API."),
    "db": ("scheduler.cli.db:db", "Look after the database's schema."),
    "doctor": ("scheduler.cli.doctor:doctor", "Check everything, and say what to do about it."),
}

main = LazyGroup(
    name="enlarger",
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Enlarge images in bulk.

\b
Example:
  enlarger run photos --to results

Settings are environment variables named ENLARGER_*. Results go to standard output, messages to
standard error. The exit code is 0 when all went well, 1 after an error or when some images failed,
2 when the command was called wrongly, 130 after Ctrl-C.""",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the version.",
        ),
        click.Option(
            ["--key"],
            envvar="ENLARGER_KEY",
            metavar="ID:SECRET",
            is_eager=True,
            help="The key for --api; better in the environment, as ENLARGER_KEY.",
        ),
        click.Option(
            ["--api"],
            envvar="ENLARGER_API",
            metavar="URL",
            expose_value=False,
            callback=_remember_api,
            help="Ask the API there about batches, instead of the database.",
        ),
    ],
)
