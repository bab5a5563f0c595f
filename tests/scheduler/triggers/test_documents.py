import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.errors import EventInvalid
from scheduler.triggers import documents
from scheduler.triggers.arrival import Arrival

DOCUMENTS = Path(__file__).parents[2] / "data" / "events"
KEY = "in/red flower (café)+1.jpg"
ETAG = "d41d8cd98f00b204e9800998ecf8427e"


def document(name: str) -> str:
    return (DOCUMENTS / f"{name}.json").read_text()


def changed(name: str, **fields: Any) -> str:
    """Return a document whose record's object has other fields."""
    loaded = json.loads(document(name))
    loaded["Records"][0]["s3"]["object"] |= fields
    return json.dumps(loaded)


def only(body: str) -> Arrival:
    found = documents.read(body)
    assert list(found.faults) == []
    (arrival,) = found.arrivals
    return arrival


@pytest.mark.parametrize("name", ["s3", "sns", "minio", "ceph"])
def test_every_source_tells_of_the_same_object_in_the_same_way(name: str) -> None:
    arrival = only(document(name))

    assert (arrival.bucket, arrival.key, arrival.etag, arrival.version, arrival.size) == (
        "photos", KEY, ETAG, None, 61523,
    )  # fmt: skip
    assert arrival.at.isoformat()[:19] == "2026-11-24T09:30:00"
    assert arrival.identity == only(document("s3")).identity


def test_eventbridge_has_names_of_its_own_and_literal_keys() -> None:
    (arrival,) = documents.read(document("eventbridge")).arrivals

    assert (arrival.key, arrival.etag) == (KEY, ETAG)
    assert arrival.version == "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e"


def test_eventbridge_inside_of_sns_is_unwrapped() -> None:
    wrapped = json.dumps({"Type": "Notification", "Message": document("eventbridge")})

    assert only(wrapped).key == KEY


def test_what_minio_pushes_to_a_redis_list_is_understood() -> None:
    records = json.loads(document("minio"))["Records"]
    pushed = json.dumps([{"Event": records, "EventTime": "2026-11-24T09:30:00.512Z"}])

    assert only(pushed).identity == only(document("minio")).identity


def test_several_records_and_a_version_of_null() -> None:
    first, second = documents.read(document("s3-versioned")).arrivals

    assert first.version == "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY"
    assert (second.key, second.version) == ("in/b.jpg", None)


@pytest.mark.parametrize(
    "body",
    [
        document("s3-test"),
        document("s3-removed"),
        document("eventbridge").replace("Object Created", "Object Deleted"),
        document("minio").replace("ObjectCreated:Put", "ObjectCreated:PutRetention"),
        json.dumps({"Type": "Notification", "Message": document("s3-test")}),
        '{"Records": []}',
    ],
)
def test_what_is_no_creation_is_no_arrival_and_no_fault(body: str) -> None:
    found = documents.read(body)

    assert (list(found.arrivals), list(found.faults)) == ([], [])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "no JSON"),
        ("1", "no JSON object"),
        ("[1]", "not one of MinIO's"),
        ('[{"Event": 1}]', "not one of MinIO's"),
        ('{"Records": 3}', "neither"),
        ('{"hello": "world"}', "neither"),
        ("[" * 100_000, "no JSON"),
        ('{"Type": "Notification", "Message": "not json"}', "no JSON"),
        ('{"source": "aws.s3", "detail-type": "Object Created", "time": "2026-11-24T09:30:00Z"}',
         "detail: Field required"),
    ],
)  # fmt: skip
def test_what_is_no_event_of_a_bucket_is_refused(body: str, reason: str) -> None:
    with pytest.raises(EventInvalid, match=reason):
        documents.read(body)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (changed("s3", key="a%00.jpg"), "NUL"),
        (changed("s3", key="a%FF.jpg"), "no UTF-8"),
        (changed("s3", key="a" * 1100), "1100 bytes"),
        (changed("s3", key=7), "key"),
        (changed("s3", eTag=""), "neither an ETag nor a version"),
        (document("s3").replace("aws:s3", "other:s3"), "eventSource: 'other:s3' is unknown"),
        (document("s3").replace("2026-11-24T09", "yesterday"), "eventTime"),
    ],
)
def test_a_bad_record_is_told_apart_from_the_good_ones_beside_it(bad: str, reason: str) -> None:
    records = [json.loads(body)["Records"][0] for body in (bad, document("ceph"))]

    found = documents.read(json.dumps({"Records": records}))

    assert [arrival.key for arrival in found.arrivals] == [KEY]
    (fault,) = found.faults
    assert reason in fault.reason
    assert json.loads(fault.text)["Records"] == records[:1]


def test_identity_tells_versions_apart_and_else_etags() -> None:
    one = only(changed("s3", versionId="1"))
    same = only(changed("s3", versionId="1", eTag="other"))
    other = only(changed("s3", versionId="2"))
    plain = only(changed("s3", eTag="1"))

    assert one.identity == same.identity
    assert len({one.identity, other.identity, plain.identity}) == 3


def test_metadata_that_minio_and_ceph_send_along_marks_results() -> None:
    mark = "X-Amz-Meta-Enlarger-Job"
    minio = only(changed("minio", userMetadata={mark: "0193"}))
    ceph = only(changed("ceph", metadata=[{"key": mark.lower(), "val": "0193"}]))

    assert minio.is_result
    assert ceph.is_result
    assert not only(document("minio")).is_result


def test_opaque_data_of_ceph_is_handed_on() -> None:
    assert documents.read(document("ceph")).opaque == ["the-token-of-the-topic"]
