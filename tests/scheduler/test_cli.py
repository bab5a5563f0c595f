"""What holds of every command: light, teaching, and exact about how it ended."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from models.version import VERSION
from scheduler.cli.group import COMMANDS, main
from tests.scheduler.command import enlarger

ROOT = Path(__file__).parents[2]


def every_command(
    group: click.Group = main, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*prefix, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*prefix, name))


ALL = [" ".join(words) for words in every_command()]


@pytest.mark.parametrize("command", ALL)
def test_the_help_of_every_command_teaches_with_an_example(command: str) -> None:
    answer = CliRunner().invoke(main, [*command.split(), "--help"])

    assert answer.exit_code == 0
    _, _, examples = answer.output.partition("Example")
    assert f"enlarger {command.split()[0]}" in examples


def test_the_help_of_all_names_every_command_and_an_example() -> None:
    answer = CliRunner().invoke(main, ["--help"])

    assert "enlarger run photos" in answer.output
    assert [name for name in COMMANDS if f"  {name} " not in answer.output] == []


def test_the_help_of_all_imports_no_command_and_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from scheduler.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    loaded = set(done.stderr.split())
    assert "scheduler.cli.group" in loaded
    ours = {name for name in loaded if name.startswith("scheduler.cli.")}
    assert ours == {"scheduler.cli.group"}
    heavy = {"rich", "pydantic", "sqlalchemy", "celery", "boto3", "torch", "pydantic_settings"}
    assert loaded & heavy == set()


def test_the_version_is_told() -> None:
    answer = CliRunner().invoke(main, ["--version"])

    assert answer.output == f"enlarger {VERSION}\n"


def test_a_misspelt_command_is_a_wrong_call_and_the_right_one_is_named() -> None:
    answer = CliRunner().invoke(main, ["statsu"])

    assert answer.exit_code == 2
    assert "Did you mean 'status'?" in answer.output


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["run", "photos"], "--to"),
        (["run", "--to", "x"], "SOURCE"),
        (["run", "photos", "--to", "x", "--set", "scale"], "NAME=VALUE"),
        (["submit", "photos", "--to", "x", "--priority", "high"], "--priority"),
        (["status", "--limit", "0"], "--limit"),
        (["watch"], "BATCH"),
    ],
)
def test_a_wrong_call_exits_with_2_and_names_what_is_wrong(arguments: list[str], word: str) -> None:
    answer = CliRunner().invoke(main, arguments)

    assert answer.exit_code == 2
    assert word in answer.output


def test_an_error_is_one_line_and_no_traceback() -> None:
    answer = enlarger("status")

    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Error: ENLARGER_DATABASE_URL is not set")
    assert answer.err.count("\n") == 1


def test_a_bad_setting_is_named_with_its_variable() -> None:
    answer = enlarger("status", ENLARGER_LEASE_S="soon")

    assert answer.code == 1
    assert answer.err.startswith("Error: ENLARGER_LEASE_S: 'soon'")
    assert answer.err.count("\n") == 1


def test_a_worker_is_not_started_for_an_endpoint_that_is_unknown() -> None:
    answer = enlarger("worker", "--endpoints", "enlarger/lanczos,enlarger/lanczo")

    assert answer.code == 1
    assert "'enlarger/lanczo' is unknown" in answer.err


def test_the_documents_have_every_command_and_every_option() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()

    missing = [name for name in ALL if f"enlarger {name}" not in page]
    for words in ALL:
        command: click.Command = main
        for word in words.split():
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), word)
            assert found is not None
            command = found
        missing += [
            option
            for parameter in command.params
            for option in parameter.opts
            if option.startswith("--") and f"`{option}" not in page
        ]
    assert missing == []
