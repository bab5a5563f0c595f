import threading
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from scheduler.ledger import batches, triggers
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.trigger_tables import Trigger
from scheduler.triggers import intake
from scheduler.triggers.arrival import Arrival
from tests.scheduler.triggers.rules import jobs_of, make_arrival, save_rule


def receive(ledger: Ledger, *arrivals: Arrival) -> int:
    with ledger.begin() as session:
        return intake.receive(session, arrivals)


def test_an_arrival_becomes_a_job_of_the_rules_feed(ledger: Ledger) -> None:
    rule = save_rule(ledger, set={"scale": 3}, priority=5, owner="ann", to="s3://out/{dir}/{stem}")

    assert receive(ledger, make_arrival("in/x/a.jpg", version="v7")) == 1

    (job,) = jobs_of(ledger)
    assert (job.state, job.source) == ("waiting", "s3://photos/in/x/a.jpg")
    assert job.destination == "s3://out/x/a.png"
    assert job.arguments["scale"] == 3
    assert job.seed is not None
    arrived = {"version_id": "v7", "etag": "e1", "arrived_at": "2026-11-24T09:30:00+00:00"}
    assert job.passthrough == {"trigger": {"name": "photos", **arrived}}
    with ledger.begin() as session:
        batch = batches.get(session, job.batch_id)
    assert (batch.source, batch.destination) == ("s3://photos/in/", "s3://out/")
    assert (batch.priority, batch.owner) == (5, "ann")
    assert batch.options["trigger"] == str(rule.id)


def test_repeated_and_reordered_events_make_one_job_for_each_version(ledger: Ledger) -> None:
    save_rule(ledger, to="s3://out/{stem}-{version}")
    first, second = make_arrival(version="1"), make_arrival(version="2")
    other = make_arrival("in/b.jpg")

    made = [receive(ledger, *some) for some in [[second, second], [other, first], [first, second]]]

    assert made == [1, 2, 0]
    assert [(job.source[-5:], job.source_version) for job in jobs_of(ledger)] == [
        ("a.jpg", "2"), ("b.jpg", None), ("a.jpg", "1"),
    ]  # fmt: skip


def test_one_result_for_all_versions_is_made_of_the_newest(ledger: Ledger) -> None:
    save_rule(ledger, to="s3://out/{stem}")

    receive(ledger, make_arrival(version="1"))

    assert jobs_of(ledger)[0].source_version is None


def test_every_rule_that_means_an_object_makes_a_job_of_it(ledger: Ledger) -> None:
    save_rule(ledger, name="one")
    save_rule(ledger, name="two", prefix="")
    save_rule(ledger, name="three", prefix="elsewhere/")

    assert receive(ledger, make_arrival()) == 2


def test_a_redelivery_while_the_first_copy_is_handled_waits_for_it(ledger: Ledger) -> None:
    save_rule(ledger)
    began, made = threading.Event(), []

    def redelivered() -> None:
        began.set()
        made.append(receive(ledger, make_arrival()))

    with ledger.begin() as session:
        made.append(intake.receive(session, [make_arrival()]))
        thread = threading.Thread(target=redelivered)
        thread.start()
        began.wait(10)
        thread.join(0.3)
        waited = thread.is_alive()
    thread.join(10)

    assert waited
    assert made == [1, 0]
    assert len(jobs_of(ledger)) == 1


def test_a_transaction_that_is_taken_back_has_taken_nothing(ledger: Ledger) -> None:
    save_rule(ledger)

    with suppress(ZeroDivisionError), ledger.begin() as session:
        intake.receive(session, [make_arrival()])
        raise ZeroDivisionError

    assert receive(ledger, make_arrival()) == 1


def test_what_cannot_be_done_is_rejected_with_the_reason(ledger: Ledger) -> None:
    save_rule(ledger, to="file:///srv/out/{dir}/{stem}")

    receive(ledger, make_arrival("in/../../etc/passwd.jpg"), make_arrival("in/b.jpg"))

    bad, good = jobs_of(ledger)
    assert (bad.state, bad.source) == ("rejected", "s3://photos/in/../../etc/passwd.jpg")
    assert bad.error["field"] == "destination"
    assert good.state == "waiting"


def test_a_rule_for_an_endpoint_that_is_gone_rejects_and_says_so(ledger: Ledger) -> None:
    save_rule(ledger, endpoint="enlarger/gone")

    assert receive(ledger, make_arrival()) == 1

    assert "enlarger/gone" in jobs_of(ledger)[0].error["message"]


def pause(ledger: Ledger, rule: Trigger, paused: bool) -> None:
    with ledger.begin() as session:
        triggers.pause(session, rule.name, paused=paused)


def test_what_arrives_while_a_rule_is_paused_is_done_when_it_goes_on(ledger: Ledger) -> None:
    rule = save_rule(ledger)
    receive(ledger, make_arrival("in/before.jpg"))
    pause(ledger, rule, paused=True)

    receive(ledger, make_arrival(), make_arrival(), make_arrival("in/before.jpg"))
    assert not intake.release(ledger)
    assert len(jobs_of(ledger)) == 1
    pause(ledger, rule, paused=False)
    assert intake.release(ledger)
    assert not intake.release(ledger)

    assert [job.source[15:] for job in jobs_of(ledger)] == ["before.jpg", "a.jpg"]


def test_entries_are_forgotten_by_their_age_and_with_their_rule(ledger: Ledger) -> None:
    rule = save_rule(ledger)
    receive(ledger, *(make_arrival(f"in/{n}.jpg") for n in range(5)))
    with ledger.begin() as session:
        now = database_time(session)

    def forget(age_s: float | None) -> int:
        before = None if age_s is None else now - timedelta(seconds=age_s)
        with ledger.begin() as session:
            return triggers.forget(session, before=before, limit=3)

    assert forget(60) == 0
    assert [forget(-60), forget(-60), forget(-60)] == [3, 2, 0]
    receive(ledger, make_arrival("in/0.jpg"), make_arrival("in/new.jpg"))
    with ledger.begin() as session:
        triggers.remove(session, rule.name)
    assert receive(ledger, make_arrival("in/1.jpg")) == 0
    assert [forget(None), forget(None)] == [2, 0]
    with ledger.begin() as session:
        assert session.get(Trigger, UUID(str(rule.id))) is None
    save_rule(ledger)  # the name is free again
