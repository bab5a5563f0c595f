from pathlib import Path

import pytest
from click.testing import CliRunner

from models.checkpoint.manifest import File, Licence, Manifest, Part, Variant
from scheduler import hub
from scheduler.cli.weights import pull
from scheduler.errors import SettingsInvalid
from scheduler.settings import Settings
from tests.checkpoints import write_seedvr2
from tests.hub_server import hub_server
from tests.scheduler.command import enlarger


@pytest.fixture
def here(tmp_path) -> Settings:
    """Settings whose weights hold a small SeedVR2 3B."""
    write_seedvr2(tmp_path / "seedvr", variant="3b")
    return Settings(weights=str(tmp_path))


def test_the_list_says_what_is_here_and_under_which_licence(here):
    found = enlarger("weights", "list", "--json", settings=here).json()

    assert {each["file"] for each in found if each["here"]} == {"seedvr2_ema_3b.pth", "ema_vae.pth"}
    assert {each["licence"] for each in found if each["here"]} == {"Apache-2.0"}
    table = enlarger("weights", "list", settings=here)
    assert "seedvr2_ema_7b.pth" in table.out


def test_a_check_looks_at_bytes_tensors_and_the_device(here):
    answer = enlarger("weights", "check", "seedvr", "--variant", "3b", "--json", settings=here)

    found = {(each["check"], each["ok"]) for each in answer.json()}
    # The bytes are ours and not the publisher's, everything else is as published.
    assert found == {("files", True), ("sha256", False), ("tensors", True), ("device", True)}
    assert answer.code == 1
    assert "and not 6bcc5ac5" in answer.out


def test_only_what_the_options_need_is_brought():
    manifest = hub.manifest("chain-of-zoom")
    (variant,) = manifest.variants
    looking = {"fal-ai/chain-of-zoom": {"prompter": "vlm"}}

    few, all_ = (hub.needed(manifest, variant, each) for each in ({}, looking))

    assert all_ == variant
    assert {part.name.split()[0] for part in all_.parts if part not in few.parts} == {"language"}
    by_hand = [file.repository is None for file in hub.chosen(all_, ())]
    assert by_hand == sorted(by_hand)
    assert sum(by_hand) == 3
    with pytest.raises(SettingsInvalid, match="fal-ai/chain-of-zoom: prompter: Input should be"):
        hub.needed(manifest, variant, {"fal-ai/chain-of-zoom": {"prompter": "llm"}})


def test_a_check_names_the_tensor_that_is_wrong(here, tmp_path):
    (tmp_path / "seedvr" / "ema_vae.pth").write_bytes(b"not weights")

    answer = enlarger("weights", "check", "seedvr", settings=here)

    assert answer.code == 1
    assert "ema_vae.pth is damaged" in " ".join(answer.out.split())


def test_a_check_of_what_is_not_here_says_how_to_get_it(here):
    answer = enlarger("weights", "check", "seedvr", "--variant", "7b", settings=here)

    assert answer.code == 1
    assert "weights pull seedvr --variant 7b" in " ".join(answer.out.split())


@pytest.mark.parametrize(
    ("arguments", "weights", "said"),
    [
        (("pull", "seedvr"), None, "ENLARGER_WEIGHTS is not set"),
        (("pull", "seedvr"), "s3://bucket/weights", "name a folder here"),
        (("pull", "lanczos"), "/tmp/none", "has no weights"),
        (("pull", "seedvr", "--variant", "9b"), "/tmp/none", "it has 3b, 7b, 7b_sharp"),
        (("pull", "seedvr", "--file", "x.pth"), "/tmp/none", "is no file of 3b"),
        (("check", "seedvr"), "/tmp/none", "weights pull seedvr"),
    ],
)
def test_what_can_not_be_done_is_said_in_one_line(arguments, weights, said):
    answer = enlarger("weights", *arguments, settings=Settings(weights=weights))

    assert answer.code == 1
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_what_was_pulled_under_another_digest_is_refused(tmp_path):
    settings = Settings(weights=str(tmp_path))
    with hub_server({"ByteDance-Seed/SeedVR2-3B/seedvr2_ema_3b.pth": b"no"}) as server:
        answer = enlarger(
            *("weights", "pull", "seedvr", "--variant", "3b"),
            settings=settings,
            HF_ENDPOINT=server.url,
            HF_HOME=str(tmp_path / "hf"),
            HF_HUB_DISABLE_XET="1",
        )

    assert answer.code == 1
    assert "SHA-256" in answer.err
    assert "Apache-2.0" in answer.err
    assert [path.name for path in Path(tmp_path / "seedvr").glob("*.pth*")] == [
        "seedvr2_ema_3b.pth.refused"
    ]


def research_only(name: str) -> File:
    licence = Licence(name="Research-Only", url="https://example.org/terms", free=False)
    return File(name=name, repository="somebody/something", licence=licence)


@pytest.mark.parametrize(
    ("arguments", "answer", "pulled"),
    [((), "n\n", False), ((), "y\n", True), (("--accept",), "", True)],
    ids=["no", "yes", "accepted"],
)
def test_a_licence_that_is_not_free_asks_for_a_yes(
    monkeypatch, tmp_path, arguments, answer, pulled
):
    part = Part(name="net", files=(research_only("w.pth"),))
    only = Manifest(name="only", variants=(Variant(name="one", parts=(part,)),))
    monkeypatch.setattr(hub, "manifests", lambda: {"only": only})
    monkeypatch.setenv("ENLARGER_WEIGHTS", str(tmp_path))
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "w.pth").write_bytes(b"here already")

    result = CliRunner().invoke(pull, ["only", *arguments], input=answer)

    assert (result.exit_code == 0) is pulled
    assert ("https://example.org/terms" in result.output) is (not arguments)
    assert ("w.pth" in hub.read_pins(tmp_path / "only")) is pulled
