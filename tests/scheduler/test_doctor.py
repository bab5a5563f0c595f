"""The doctor finds each fault that a test causes in real servers, and says what to do about it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import redis
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from scheduler import broker, doctor
from scheduler.doctor import Finding, examine
from scheduler.ledger import fleet
from scheduler.ledger.fleet import Self
from scheduler.ledger.session import Ledger, upgrade
from scheduler.settings import Settings
from tests.factories import make_worker

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

NOBODY = "127.0.0.1:9"
AS_ROOT = os.geteuid() == 0


def found(settings: Settings, destination: str | None = None) -> dict[str, Finding]:
    findings = list(examine(settings, destination=destination))
    assert all(bool(each.remedy) != each.ok for each in findings), (
        "a fault and only it has a remedy"
    )
    return {each.name: each for each in findings}


def look_at(settings: Settings, name: str, destination: str | None = None) -> Finding:
    """Return one finding; what would be looked at after it costs nothing."""
    return next(each for each in examine(settings, destination=destination) if each.name == name)


def changed(settings: Settings, **values: Any) -> Settings:
    return settings.model_copy(update=values)


def test_a_system_that_is_well_has_no_fault(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    make_worker(ledger, name="gpu-host:7")

    findings = found(settings, str(tmp_path))

    assert {name: each.detail for name, each in findings.items() if not each.ok} == {}
    assert findings["database"].detail.startswith("PostgreSQL ")
    assert "noeviction" in findings["redis"].detail
    assert "gpu-host:7 on cpu" in findings["workers"].detail
    assert "enlarger/lanczos" in findings["weights"].detail
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_an_unmigrated_database_is_a_fault_until_it_is_upgraded(
    settings: Settings, ledger: Ledger, empty_database_url: str
) -> None:
    empty = changed(settings, database_url=SecretStr(empty_database_url))

    schema = look_at(empty, "schema")
    upgrade(empty)

    assert (schema.ok, "nothing" in schema.detail) == (False, True)
    assert "enlarger db upgrade" in schema.remedy
    assert look_at(empty, "schema").ok


def test_a_database_that_is_not_there_is_a_fault_and_what_needs_it_is_not_known(
    settings: Settings,
) -> None:
    gone = changed(settings, database_url=SecretStr(f"postgresql://me:secret@{NOBODY}/enlarger"))

    findings = found(gone)

    assert "does not answer" in findings["database"].detail
    assert findings["schema"].detail == findings["workers"].detail == "not known"
    assert findings["redis"].ok
    assert "secret" not in str(findings)


def test_a_redis_that_is_not_there_is_a_fault(settings: Settings) -> None:
    gone = changed(settings, redis_url=SecretStr(f"redis://:secret@{NOBODY}/0"))

    redis = look_at(gone, "redis")

    assert (redis.ok, "does not answer" in redis.detail) == (False, True)
    assert "secret" not in str(redis)


@pytest.fixture
def evicting(settings: Settings) -> Iterator[None]:
    with broker.connect(settings) as client:
        before = client.config_get("maxmemory-policy")["maxmemory-policy"]
        client.config_set("maxmemory-policy", "allkeys-lru")
        yield
        client.config_set("maxmemory-policy", before)


@pytest.mark.usefixtures("evicting")
def test_a_redis_that_drops_keys_is_a_fault(settings: Settings) -> None:
    redis = look_at(settings, "redis")

    assert (redis.ok, "allkeys-lru" in redis.detail) == (False, True)
    assert "noeviction" in redis.remedy


@pytest.mark.parametrize("value", ["http://host", "redis://host:port", "nonsense"])
def test_an_impossible_redis_address_is_a_fault(settings: Settings, value: str) -> None:
    finding = look_at(changed(settings, redis_url=SecretStr(value)), "redis")

    assert (finding.ok, value in str(finding)) == (False, False)


@pytest.mark.parametrize("value", ["mysql://host", "postgresql://host:port/x", "nonsense"])
def test_an_impossible_database_address_is_a_fault(settings: Settings, value: str) -> None:
    finding = look_at(changed(settings, database_url=SecretStr(value)), "database")

    assert (finding.ok, value in str(finding)) == (False, False)


def test_nobody_to_do_the_work_is_a_fault(settings: Settings) -> None:
    workers = look_at(settings, "workers")

    assert (workers.ok, workers.detail) == (False, "none is running")
    assert "enlarger worker" in workers.remedy


def test_an_endpoint_that_no_worker_can_serve_is_a_fault(
    settings: Settings, ledger: Ledger
) -> None:
    lame = Self(
        id=uuid7(),
        name="host:1",
        device="cpu",
        memory_bytes=1,
        version="0",
        not_ready={"enlarger/lanczos": "a file is missing"},
    )
    with ledger.begin() as session:
        fleet.renew(session, lame, lease_s=60)

    alone = look_at(settings, "workers")
    make_worker(ledger)
    helped = look_at(settings, "workers")

    assert (alone.ok, helped.ok) == (False, True)
    assert "a file is missing (host:1)" in alone.detail


@pytest.mark.skipif(AS_ROOT, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_a_fault(settings: Settings, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    assert not look_at(settings, "storage", str(tmp_path)).ok


def test_a_file_in_the_place_of_a_folder_is_a_fault(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("no folder")

    storage = look_at(settings, "storage", str(tmp_path / "results"))

    assert (storage.ok, "results" in storage.detail) == (False, True)


def test_a_bucket_is_written_read_and_emptied(
    settings: Settings, s3_url: str, s3_client: "S3Client", bucket: str
) -> None:
    s3 = changed(settings, s3_endpoint_url=s3_url)

    assert look_at(s3, "storage", f"s3://{bucket}/results/").ok
    assert not look_at(s3, "storage", "s3://no-such-bucket-here/results/").ok
    assert s3_client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_missing_credentials_are_a_fault(
    settings: Settings, s3_url: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    storage = look_at(changed(settings, s3_endpoint_url=s3_url), "storage", f"s3://{bucket}/")

    assert (storage.ok, "credentials" in storage.detail) == (False, True)


def test_a_full_disk_is_a_fault(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 2**70)

    assert not look_at(settings, "scratch disk").ok


def test_a_misspelt_setting_is_a_fault_with_what_was_meant(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENLARGER_LEASES_S", "3")

    finding = look_at(settings, "settings")

    assert (finding.ok, "ENLARGER_LEASE_S" in finding.remedy) == (False, True)


def test_half_a_system_is_a_fault(settings: Settings) -> None:
    finding = look_at(changed(settings, redis_url=None), "settings")

    assert (finding.ok, "REDIS_URL" in finding.detail) == (False, True)


def test_without_servers_of_its_own_the_embedded_ones_are_looked_at(tmp_path: Path) -> None:
    findings = found(Settings(home=tmp_path / "not" / "yet"))

    assert "database" not in findings
    assert str(tmp_path) in findings["home"].detail


def test_a_host_without_the_worker_side_is_told_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "__init__.py").write_text("raise ImportError('no workers here')")
    monkeypatch.setattr("scheduler.embedded.system.PACKAGES", tmp_path)

    findings = found(settings)

    assert "no workers here" in findings["devices"].detail
    assert "enlarger[worker]" in findings["devices"].remedy
    assert findings["weights"].detail == "not known"


def test_the_doctor_loads_nothing_of_the_workers() -> None:
    code = "import sys, scheduler.doctor; print({'torch', 'workers'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_queues_of_bucket_events_are_looked_at_and_not_emptied(
    settings: Settings, redis_url: str, client: redis.Redis, s3_url: str
) -> None:
    sqs = boto3.client("sqs", endpoint_url=s3_url, region_name="us-east-1")
    queue = sqs.create_queue(QueueName=f"doctor-{uuid7().hex}")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="{}")
    sqs.close()
    key = f"{settings.redis_prefix}bucket-events"
    client.rpush(key, "{}", "{}")
    queues = (queue, f"{redis_url}#{key}", f"{queue}-gone", "redis://:secret@127.0.0.1:9/0#x")
    asked = changed(settings, event_queues=queues)

    findings = [look_at(asked, f"event queue {number}") for number in (1, 2, 3, 4)]

    assert [each.ok for each in findings] == [True, True, False, False]
    assert findings[0].detail == f"{queue}, 1 messages"
    assert findings[1].detail == f"redis#{key}, 2 messages"
    assert "create the queue" in findings[2].detail
    assert "secret" not in findings[3].detail
