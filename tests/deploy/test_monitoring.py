"""Rules and dashboards ask for what `/metrics` tells, and every alert says what to do."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from scheduler.api.metrics import HttpFigures, exposition
from scheduler.ledger.fleet import EndedFigure, Figures, StageFigure
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from tests.factories import ENDPOINT, make_batch, make_worker

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((MONITORING / "rules.yml").read_text())
DASHBOARDS = [
    json.loads(path.read_text())
    for path in sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
]
ADDED_BY_PROMETHEUS = {"instance", "job"}
FREE = {"status", "route", "kind", "device", "endpoint"}
"""Labels whose values no short run shows all of."""


class Asked(NamedTuple):
    """A metric that an expression reads, and what it wants of its labels."""

    name: str
    labels: dict[str, str]


def rules(kind: str) -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"] if kind in rule]


def panels() -> list[dict[str, Any]]:
    found = [panel for dashboard in DASHBOARDS for panel in dashboard["panels"]]
    return [panel for panel in found if panel["type"] != "row"]


def expressions() -> dict[str, str]:
    """Return every expression, by where it is used; panels' variables are filled in."""
    alerts = {rule.get("alert", rule.get("record")): rule["expr"] for rule in rules("expr")}
    return alerts | {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$endpoint", ".*")
        for panel in panels()
        for target in panel["targets"]
    }


EXPRESSIONS = expressions()


def parts(expression: Any) -> Iterator[Any]:
    """Yield an expression and all that it is made of."""
    yield expression
    inner = (getattr(expression, name, None) for name in ("expr", "lhs", "rhs", "vector_selector"))
    for each in (*inner, *getattr(expression, "args", ())):
        if each is not None:
            yield from parts(each)


def asked(text: str) -> list[Asked]:
    found = [
        each
        for each in parts(promql_parser.parse(text))
        if isinstance(each, promql_parser.VectorSelector)
    ]
    return [
        Asked(each.name, {matcher.name: matcher.value for matcher in each.matchers.matchers})
        for each in found
    ]


@pytest.fixture
def told(settings: Settings) -> dict[str, dict[str, set[str]]]:
    """Return the values of each label of each metric that a used system tells of."""
    ledger = Ledger(settings, connections=2)
    make_batch(ledger)
    ended = [EndedFigure(ENDPOINT, "failed", "image_unreadable", 2, "request")]
    stages = [StageFigure(ENDPOINT, "device", [1] * 11, 9.0)]
    make_worker(ledger, figures=Figures(ended=ended, stages=stages))
    http = HttpFigures()
    http.note(method="GET", route="/healthz", status=200, seconds=0.1)
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(exposition(ledger, http).decode()):
        for sample in family.samples:
            values = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                values.setdefault(label, set()).add(value)
    ledger.close()
    return found


def test_every_expression_asks_for_what_metrics_tell(told: dict[str, dict[str, set[str]]]) -> None:
    recorded = {rule["record"]: told[asked(rule["expr"])[0].name] for rule in rules("record")}
    known = told | recorded
    for where, text in EXPRESSIONS.items():
        found = asked(text)
        assert found, where
        for name, labels in found:
            assert name in known, (where, name)
            for label, wanted in labels.items():
                values = known[name][label]
                assert label in FREE or any(re.fullmatch(wanted, each) for each in values), where


def test_every_grouping_is_by_labels_that_are_told(told: dict[str, dict[str, set[str]]]) -> None:
    for where, text in EXPRESSIONS.items():
        labels = {label for metric in told.values() for label in metric} | ADDED_BY_PROMETHEUS
        grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", text)

        wanted = {label.strip() for each in grouped for label in each.split(",")}
        assert wanted <= labels, where


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = yaml.safe_load((MONITORING / "rules_test.yml").read_text())["tests"]
    asked_for = [case for each in cases for case in each["alert_rule_test"]]
    firing = {case["alertname"] for case in asked_for if case["exp_alerts"]}
    quiet = {case["alertname"] for case in asked_for if not case["exp_alerts"]}

    assert firing == {rule["alert"] for rule in rules("alert")}
    assert quiet == firing


@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("check", "rules", "rules.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_itself_takes_our_files_and_alerts_as_they_say(words: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")

    done = subprocess.run(
        [promtool, *words], cwd=MONITORING, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_in_the_manual_what_to_do() -> None:
    manual = (ROOT / "docs" / "operations.md").read_text()
    headings = re.findall(r"^### (Enlarger\w+)\n\n\S", manual, re.MULTILINE)

    assert headings == [rule["alert"] for rule in rules("alert")]
    assert all(rule["annotations"]["summary"] for rule in rules("alert"))
    assert {rule["labels"]["severity"] for rule in rules("alert")} == {
        "critical",
        "warning",
        "info",
    }


def test_a_label_in_a_summary_is_one_that_the_alert_has() -> None:
    for rule in rules("alert"):
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        kept = re.search(r"\bby \(([^)]*)\)", rule["expr"])

        assert named <= set(kept.group(1).split(", ") if kept else ()), rule["alert"]


def test_panels_stand_side_by_side_and_know_their_source() -> None:
    for panel in panels():
        place = panel["gridPos"]

        assert place["x"] + place["w"] <= 24
        assert panel["datasource"]["uid"] == "prometheus"
    provisioned = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
    assert yaml.safe_load(provisioned.read_text())["datasources"][0]["uid"] == "prometheus"
