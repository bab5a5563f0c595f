"""docker-compose.yml promises what the commands, the settings and the code keep.

That real containers come up is tried by `make test-compose`.
"""

import re

import click
import pytest

from scheduler.cli.group import main
from scheduler.settings import Settings, load
from tests.deploy.compose import (
    OURS,
    ROOT,
    SECRETS,
    example,
    filled_in,
    loaded,
    ours,
    services,
    variables,
)
from workers.engine import FLUSH_S, UNWIND_S

SHELL = ["tini", "--", "sh", "-c"]
CALL = re.compile(r"enlarger ([a-z][^>|&]*)")


def calls() -> set[tuple[str, ...]]:
    """Return every call of `enlarger` in the file, as words."""
    found: list[list[str]] = []
    for service in ours().values():
        if service.get("entrypoint") == SHELL:
            found += [call.split() for call in CALL.findall(service["command"][0])]
        else:
            found.append(service["command"])
    return {tuple(words) for words in found}


@pytest.mark.parametrize("words", sorted(calls()), ids=" ".join)
def test_every_command_that_it_calls_exists_with_these_options(words: tuple[str, ...]) -> None:
    command: click.Command = main
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, words[0]
        command, words = found, words[1:]

    command.make_context(command.name, list(words))  # raises for an option that there is not


def test_every_setting_that_is_named_exists() -> None:
    names = {name for name in example() if name.startswith("ENLARGER_")}
    names |= {name for each in ours().values() for name in each["environment"]}
    names |= set(re.findall(r"(ENLARGER_\w+)=", (ROOT / "deploy" / "Dockerfile").read_text()))

    assert {name.removeprefix("ENLARGER_").lower() for name in names} <= set(Settings.model_fields)


def test_its_values_are_good_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (filled_in() | ours()["api"]["environment"]).items():
        monkeypatch.setenv(name, value)

    settings = load()

    assert settings.s3_endpoint_url == "http://store:8333"
    assert str(settings.trusted_proxies[0].network_address) == example()["FRONT_ADDRESS"]


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "ENLARGER_SECRET_KEY"])
def test_without_a_secret_it_says_which(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        loaded(filled_in() | {name: ""})


def test_the_example_has_no_secret_and_the_same_values_as_the_file() -> None:
    values = example()
    differing = {
        each["name"]: (each["rest"], values[each["name"]])
        for each in variables()
        if each["name"] in values and "?" not in each["how"] and each["rest"]
        if values[each["name"]] != each["rest"]
    }

    assert {values[name] for name in SECRETS} == {""}
    assert differing == {}


def test_containers_have_longer_to_stop_than_their_processes_take() -> None:
    longest_s = Settings.model_fields["grace_s"].default + 2 * UNWIND_S + FLUSH_S

    for service in ours().values():
        assert float(service["stop_grace_period"].removesuffix("s")) > longest_s + 10
    assert float(example()["ENLARGER_GRACE_S"]) == Settings.model_fields["grace_s"].default


def test_everything_starts_after_what_it_needs() -> None:
    found = services()
    needed = {
        (name, on, how["condition"])
        for name, each in found.items()
        for on, how in each.get("depends_on", {}).items()
    }

    for name in ("scheduler", "api", "sender", "worker", "gpu-worker"):
        assert (name, "migrate", "service_completed_successfully") in needed
        assert (name, "buckets", "service_completed_successfully") in needed
        assert (name, "redis", "service_healthy") in needed
    assert ("migrate", "postgres", "service_healthy") in needed
    assert ("buckets", "store", "service_healthy") in needed
    for _, on, condition in needed:
        if condition == "service_healthy":
            assert "test" in found[on]["healthcheck"], on
        else:
            assert found[on]["restart"] == "no", on


def test_whatever_goes_on_running_has_a_health_check_that_starts_no_interpreter() -> None:
    for name, each in services().items():
        if each["restart"] != "no":
            assert each["healthcheck"]["test"][0] == "CMD", name
            assert "python" not in each["healthcheck"]["test"][1], name


def test_every_image_of_others_has_an_exact_tag() -> None:
    base = re.search(
        r"^ARG PYTHON=(.+)", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE
    )
    images = {each["image"] for each in services().values()} - set(OURS)
    # PostgreSQL and SeaweedFS number their releases with two figures, all others with three.
    exact = re.compile(r"(postgres|chrislusf/seaweedfs):\d+\.\d+|.+:v?\d+\.\d+\.\d+(-.+)?")

    assert base
    assert [each for each in {*images, base[1]} if not exact.fullmatch(each)] == []


def test_nothing_is_root_or_writable_that_need_not_be() -> None:
    found = services()
    with_users = {name for name, each in found.items() if "user" in each}

    assert with_users | set(ours()) | {"store", "front"} == set(found)
    for name in set(found) - {"store"}:
        assert found[name]["read_only"], name
        assert found[name]["cap_drop"] == ["ALL"], name


def test_what_is_reached_from_outside_is_so_from_this_host_alone() -> None:
    ports = [port for each in services().values() for port in each.get("ports", [])]

    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_whatever_it_mounts_of_this_folder_is_there() -> None:
    mounts = [mount for each in services().values() for mount in each.get("volumes", [])]
    own = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]

    assert own
    assert [path for path in own if not (ROOT / path).exists()] == []
