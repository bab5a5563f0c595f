"""``enlarger triggers`` from the first rule to the dead letters, against real servers."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scheduler import logs
from scheduler.cli import main
from scheduler.errors import TriggerInvalid
from scheduler.ledger import subscriptions
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from scheduler.triggers import burial, intake
from scheduler.triggers.rules import parse_file
from tests.scheduler.command import enlarger, surroundings
from tests.scheduler.triggers.rules import jobs_of, make_arrival, save_rule

RULES = """
triggers:
  - bucket: {bucket}
    prefix: in/
    to: s3://{bucket}/out/{{stem}}
    set: {{scale: {scale}}}
    webhook: https://example.org/done
  - name: scans
    bucket: {bucket}
    suffix: [.tif]
    to: s3://{bucket}/scans/
"""


@pytest.fixture
def settings(settings: Settings, s3_url: str) -> Settings:
    more = {"s3_endpoint_url": s3_url, "s3_region": "us-east-1"}
    return settings.model_validate(settings.model_dump() | more)


def test_rules_are_applied_paused_and_removed(
    settings: Settings, ledger: Ledger, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In this process, since there are many of them; it keeps its own logging.
    monkeypatch.setattr(logs, "configure", lambda *_given, **_more: None)
    file = tmp_path / "rules.yaml"

    def triggers(*arguments: str) -> Result:
        answer = CliRunner().invoke(main, ["triggers", *arguments], env=surroundings(settings))
        assert answer.exit_code == 0, answer.output
        return answer

    added = triggers(
        "add", "--bucket", bucket, "--prefix", "in/", "--to", f"s3://{bucket}/out/{{stem}}"
    ).stdout.strip()
    file.write_text(RULES.format(bucket=bucket, scale=3))
    assert triggers("apply", str(file)).stdout == f"{added}: changed\nscans: added\n"
    assert triggers("apply", str(file)).stdout == f"{added}: unchanged\nscans: unchanged\n"
    triggers("pause", "scans")
    with ledger.begin() as session:
        intake.receive(session, [make_arrival(bucket=bucket), make_arrival("x.tif", bucket=bucket)])
        batch = jobs_of(ledger)
        burial.read(session, "poison", source="a queue")

    listed = [json.loads(line) for line in triggers("list", "--json").stdout.splitlines()]

    found = {each["name"]: (each["state"], each["jobs"], each["set"]) for each in listed}
    assert found == {added: ("active", 1, {"scale": 3}), "scans": ("paused", 0, {})}
    (job,) = jobs_of(ledger)
    assert batch == []  # not before the commit
    with ledger.begin() as session:
        assert subscriptions.has_any(session, job.batch_id)
    assert "1" in triggers("list").stdout
    dead = json.loads(triggers("dead", "--json").stdout)
    assert (dead["body"], dead["source"]) == ("poison", "a queue")
    assert "made 0 jobs" in triggers("dead", "--retry").stderr
    assert "Dropped 1" in triggers("dead", "--drop").stderr
    triggers("remove", "scans")
    triggers("resume", added)
    triggers("backfill", added)


def test_a_rule_that_cannot_be_is_refused_in_one_line(settings: Settings, bucket: str) -> None:
    answer = enlarger(
        "triggers", "add", "--bucket", bucket, "--to", f"s3://{bucket}/out/", settings=settings
    )

    assert answer.code == 1
    assert answer.err.startswith("Error: to: results of the rule")
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "is no YAML"),
        ("- 1", "no list of rules"),
        ("triggers: [1]", "no list of rules"),
        ("triggers: [{bucket: b, to: x}, {bucket: b, to: x}]", "two rules 'b'"),
        ("triggers: [{bucket: b, to: x}, {bucket: c}]", "rule 2: to: Field required"),
        ("triggers: [{bucket: b, to: x, nope: 1}]", "rule 1: nope: .*the fields are name, bucket"),
        ("triggers: [!!python/object:os.system {}]", "is no YAML"),
    ],
)
def test_a_file_that_is_no_file_of_rules_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(TriggerInvalid, match=reason):
        parse_file(text)


def test_a_rules_webhook_is_subscribed_to_each_of_its_batches(
    settings: Settings, ledger: Ledger, bucket: str
) -> None:
    fields = {"bucket": bucket, "to": f"s3://{bucket}-out/", "webhook": "https://example.org/done"}
    save_rule(ledger, **fields)

    with ledger.begin() as session:
        for key in ("in/b.jpg", "in/c.jpg"):
            intake.receive(session, [make_arrival(key, bucket=bucket)])
        found = subscriptions.standing(session)

    assert [(each.url, each.events) for each in found] == [
        ("https://example.org/done", list(subscriptions.JOB_ENDS))
    ]
