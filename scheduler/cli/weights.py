"""``enlarger weights``: what models need, where it is, and bringing it here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli.options import as_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.checkpoint.manifest import File, Manifest, Variant


@click.group()
def weights() -> None:
    """List, bring and check the weights that models need.

    They lie in the folder that ENLARGER_WEIGHTS names, under their published names.

    \b
    Examples:
      enlarger weights list
      enlarger weights pull seedvr --variant 3b
      enlarger weights check seedvr --variant 3b
    """


@weights.command("list")
@as_json
def list_(*, as_json: bool) -> None:
    """Show every file that a model could use, whether it is here, and its licence.

    \b
    Example:
      enlarger weights list
    """
    from scheduler import hub
    from scheduler.cli.output import print_json, print_table

    folder = _folder(required=False)
    found = [
        _describe(manifest, variant, part.name, file, folder)
        for manifest in hub.manifests().values()
        for variant in manifest.variants
        for part in variant.parts
        for file in part.files
    ]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            f"{each['name']} {each['variant']}",
            each["part"],
            each["file"],
            "?" if each["here"] is None else "yes" if each["here"] else "no",
            each["licence"],
        )
        for each in found
    ]
    print_table(("weights", "part", "file (any one of a part)", "here", "licence"), rows)


@weights.command()
@click.argument("name")
@click.option("--variant", help="Which of its variants; the first if not given.")
@click.option(
    "--file", "files", multiple=True, help="Bring this file of a part, not its first; repeatable."
)
@click.option("--accept", is_flag=True, help="Agree to licences that ask for it.")
def pull(name: str, variant: str | None, files: tuple[str, ...], *, accept: bool) -> None:
    """Bring the weights of NAME (see `enlarger weights list`) from the Hugging Face hub.

    Only what your choices in ENLARGER_OPTIONS need is brought. What broke off is gone on with, what
    is here is checked. HF_TOKEN holds your token where a repository asks for one.

    \b
    Examples:
      enlarger weights pull seedvr --variant 3b
      enlarger weights pull seedvr --variant 7b --file seedvr2_ema_7b_fp16.safetensors
    """
    from scheduler import hub
    from scheduler.cli.output import say

    manifest = hub.manifest(name)
    wanted = hub.chosen(_needed(manifest, manifest.variant(variant)), files)
    folder = _folder(required=True) / manifest.name
    for file in wanted:
        _agree(file, accept=accept)
    for file in wanted:
        say(f"{file.name} from {file.repository or 'you'} ({file.licence.name})")
        with _progress(file.name) as progress:
            click.echo(hub.pull(file, folder, progress=progress))


@weights.command()
@click.argument("name")
@click.option("--variant", help="Which of its variants; all that are here if not given.")
@as_json
def check(name: str, variant: str | None, *, as_json: bool) -> None:
    """Check the weights of NAME: bytes, tensors' names, shapes, numbers, and the device's memory.

    \b
    Example:
      enlarger weights check seedvr --variant 3b
    """
    import json
    import subprocess
    import sys

    from scheduler import hub, settings
    from scheduler.cli.output import print_json, print_table
    from scheduler.embedded.system import environment

    manifest = hub.manifest(name)
    chosen = [manifest.variant(variant)] if variant else _here(manifest)
    # In a process of its own: this side never loads what only workers need.
    command = [sys.executable, "-P", "-m", "workers.weights_check", manifest.name]
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [*command, *(each.name for each in chosen)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=environment(settings.load()),
    )
    if done.returncode != 0:
        reason = "the check itself failed; see above"
        raise click.ClickException(reason)
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    if as_json:
        print_json(findings)
    else:
        rows = [
            (each["variant"], each["check"], "ok" if each["ok"] else "NO", each["detail"])
            for each in findings
        ]
        print_table(("variant", "check", "", ""), rows)
    if not all(each["ok"] for each in findings):
        raise SystemExit(1)


def _here(manifest: "Manifest") -> "Sequence[Variant]":
    """Return the variants that have all their files here.

    Raises:
        WeightsRefused: None has.
    """
    from models.checkpoint.manifest import lacking, look
    from scheduler.errors import WeightsRefused

    folder = _folder(required=True) / manifest.name
    variants = [_needed(manifest, each) for each in manifest.variants]
    found = [each for each in variants if not lacking(each.parts, look(each.parts, folder))]
    if not found:
        reason = f"{folder} has no variant whole; run `enlarger weights pull {manifest.name}`"
        raise WeightsRefused(reason)
    return found


def _needed(manifest: "Manifest", variant: "Variant") -> "Variant":
    """Return a variant with what the choices in ENLARGER_OPTIONS need of it.

    Raises:
        SettingsInvalid: They are no choices.
    """
    from scheduler import hub, settings

    return hub.needed(manifest, variant, settings.load().options)


def _folder(*, required: bool) -> Path:
    """Return where weights lie on this host.

    Raises:
        SettingsInvalid: That is not set although it is needed, or is no folder.
    """
    from scheduler import settings
    from scheduler.errors import SettingsInvalid

    loaded = settings.load()
    if loaded.weights is None and required:
        reason = "ENLARGER_WEIGHTS is not set; name the folder where weights shall lie"
        raise SettingsInvalid(reason, field="weights")
    if loaded.weights is not None and loaded.weights.startswith("s3://"):
        reason = (
            "ENLARGER_WEIGHTS is an s3:// address, which workers copy from; name a folder here, "
            "and copy it there"
        )
        raise SettingsInvalid(reason, field="weights")
    return Path(loaded.weights or "/nonexistent").expanduser()


def _describe(
    manifest: "Manifest", variant: "Variant", part: str, file: "File", folder: Path
) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "variant": variant.name,
        "part": part,
        "file": file.name,
        "here": (folder / manifest.name / file.name).is_file(),
        "repository": file.repository,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "licence": file.licence.name,
        "licence_url": file.licence.url,
    }


def _agree(file: "File", *, accept: bool) -> None:
    """Show a licence that does not let anybody do anything, and have the operator say yes.

    Raises:
        click.Abort: They said no.
    """
    from scheduler.cli.output import say

    if file.licence.free or accept:
        return
    say(f"{file.name} is under {file.licence.name}: {file.licence.url}")
    click.confirm("Do you agree to that?", abort=True, err=True)


@contextmanager
def _progress(name: str) -> "Iterator[Callable[[int], None]]":
    """Show how much of a file has been checked; the hub's library shows its own download."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("checking {task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda size: progress.advance(task, size)
