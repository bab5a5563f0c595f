from typing import Any

import pytest

from models.errors import RequestError
from scheduler.errors import RowInvalid, TriggerInvalid
from scheduler.triggers import filters
from scheduler.triggers.destination import target_of
from scheduler.triggers.loops import refuse_loops
from scheduler.triggers.rules import parse_rule
from tests.scheduler.triggers.rules import make_arrival, make_rule


@pytest.mark.parametrize(
    ("to", "key", "address"),
    [
        ("s3://out", "in/a.jpg", "s3://out/a.jpg.png"),
        ("s3://out/", "in/x/y/a.jpg", "s3://out/x/y/a.jpg.png"),
        ("s3://out/{dir}/{stem}", "in/x/a.b.jpg", "s3://out/x/a.b.png"),
        ("s3://out/{dir}/{stem}.{ext}", "in/a.jpg", "s3://out/a.png"),
        ("s3://out/{date}/{bucket}-{stem}-x4", "in/a.jpg", "s3://out/2026-11-24/photos-a-x4.png"),
        ("s3://out/big-{stem}", "in/a.jpg", "s3://out/big-a.png"),
        ("s3://out/{{a}}/{stem}@{version}", "in/a.jpg", "s3://out/{a}/a@e1.png"),
        ("s3://out/{dir}/{stem}", "in/../../etc/a.jpg", "s3://out/../../etc/a.png"),
        ("file:///srv/out/{dir}/{stem}", "in/x/a.jpg", "file:///srv/out/x/a.png"),
    ],
)
def test_a_destination_names_results_after_their_objects(to: str, key: str, address: str) -> None:
    # On s3:// a key is literal, dots are ordinary characters of it.
    assert target_of(make_rule(to=to)).address(make_arrival(key)) == address


@pytest.mark.parametrize(
    "key", ["in/../a.jpg", "in//etc/a.jpg", "in/x/../../../a.jpg", "in/\0.jpg"]
)
def test_no_key_leads_out_of_a_local_folder(key: str) -> None:
    target = target_of(make_rule(to="file:///srv/out/{dir}/{stem}"))

    with pytest.raises(RowInvalid, match="destination"):
        target.address(make_arrival(key))


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("s3://{bucket}/{stem}", "begin with an address and a slash"),
        ("{dir}/{stem}", "begin with an address"),
        ("results/{stem}", "begin with an address"),
        ("https://host/{stem}", "web address"),
        ("s3://out/{stam}", "{stam} is no placeholder; there are {dir}"),
        ("s3://out/{stem.x}", "no placeholder"),
        ("s3://out/{stem!r}", "no placeholder"),
        ("s3://out/{stem:>99999999}", "no placeholder"),
        ("s3://out/{}", "no placeholder"),
        ("s3://out/{stem", "a brace itself is written twice"),
        ("s3://out/{stem}.jpg", "ends in .jpg, and the results are .png"),
    ],
)
def test_a_destination_that_cannot_work_is_refused_at_once(to: str, reason: str) -> None:
    with pytest.raises(TriggerInvalid, match=reason) as caught:
        target_of(make_rule(to=to))

    assert caught.value.field == "to"


@pytest.mark.parametrize(
    ("rule", "key", "meant"),
    [
        ({}, "in/a.jpg", True),
        ({}, "in/A.JPG", True),
        ({}, "in/a.txt", False),
        ({}, "other/a.jpg", False),
        ({}, "in/folder/", False),
        ({"prefix": "in/2026-"}, "in/2026-11/a.jpg", True),
        ({"prefix": "in/2026-"}, "in/2025-11/a.jpg", False),
        ({"suffix": [".raw"]}, "in/a.raw", True),
        ({"suffix": [".raw"]}, "in/a.jpg", False),
        ({"glob": ["*/big-*"]}, "in/x/big-1", True),
        ({"glob": ["*/big-*"]}, "in/big-1", False),
        ({"glob": ["*.jpg"], "suffix": ["-1.jpg"]}, "in/a-1.jpg", True),
        ({"glob": ["*.jpg"], "suffix": ["-1.jpg"]}, "in/a-2.jpg", False),
        ({"exclude": ["done/*"]}, "in/done/a.jpg", False),
    ],
)
def test_a_rule_means_what_its_filters_say(rule: dict[str, Any], key: str, meant: bool) -> None:
    assert filters.means(make_rule(**rule), make_arrival(key)) is meant


def test_empty_objects_and_results_of_ours_are_never_meant() -> None:
    rule = make_rule()

    assert not filters.means(rule, make_arrival(size=0))
    assert not filters.means(rule, make_arrival(is_result=True))
    assert not filters.means(rule, make_arrival(bucket="others"))
    assert filters.means(rule, make_arrival(size=None))


@pytest.mark.parametrize(
    "rule",
    [
        {"to": "s3://photos/in/enlarged/"},
        {"to": "s3://photos/{dir}/{stem}"},
        {"to": "s3://photos/in"},
        {"prefix": "", "to": "s3://photos/elsewhere/"},
        {"prefix": "in/2026/", "to": "s3://photos/in/{date}/{stem}"},
        {"to": "s3://photos/in/", "suffix": [".png", ".jpg"]},
        {"to": "s3://photos/in/", "glob": ["*"]},
        {"to": "s3://photos/in/", "glob": ["*.[pj]*"]},
        {"to": "s3://photos/in/enlarged/", "exclude": ["*/enlarged/*"]},
    ],
)
def test_a_rule_that_would_take_its_own_results_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(TriggerInvalid, match="would be taken by itself") as caught:
        refuse_loops(make_rule(**rule), [])

    assert "choose another bucket or folder" in str(caught.value)


@pytest.mark.parametrize(
    "rule",
    [
        {"to": "s3://others/in/"},
        {"to": "s3://photos/out/"},
        {"to": "file:///photos/in/"},
        {"to": "s3://photos/in/", "suffix": [".jpg"]},
        {"to": "s3://photos/in/", "suffix": [".jpg"], "glob": ["*"]},
        {"to": "s3://photos/in/", "glob": ["*.jpg"], "set": {"output_format": "webp"}},
        {"to": "s3://photos/in/enlarged/", "exclude": ["enlarged/*"]},
    ],
)
def test_a_rule_whose_results_it_cannot_mean_is_fine(rule: dict[str, Any]) -> None:
    refuse_loops(make_rule(**rule), [])


def test_a_chain_of_rules_is_refused_whichever_comes_last() -> None:
    first = make_rule(name="first", to="s3://middle/x/")
    second = make_rule(name="second", bucket="middle", prefix="x/")
    chained = r"'first', at s3://middle/x/, would be taken by the rule 'second'"

    with pytest.raises(TriggerInvalid, match=chained):
        refuse_loops(second, [first])
    with pytest.raises(TriggerInvalid, match=chained):
        refuse_loops(first, [second])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "Bad Name"}, "name"),
        ({"colour": "red"}, "colour"),
        ({"priority": 101}, "priority"),
        ({"suffix": ".jpg"}, "suffix"),
        ({"to": "s3://out/\0"}, "to"),
    ],
)
def test_a_rules_fields_are_checked_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(TriggerInvalid) as caught:
        parse_rule({"name": "a", "bucket": "b", "to": "s3://out/"} | fields)

    assert caught.value.field == field


def test_a_rules_arguments_are_those_of_its_endpoint() -> None:
    with pytest.raises(RequestError, match="scale"):
        target_of(make_rule(set={"scale": 1000}))
