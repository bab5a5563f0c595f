"""A released version can work on the newer schema, and the schema can go back to it."""

import contextlib
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from scheduler.errors import RevisionUnknown
from scheduler.ledger.session import OLDEST, Ledger, downgrade, revisions, upgrade
from scheduler.settings import Settings
from tests.factories import make_batch
from tests.upgrades import Recording, columns, recordings, restore, rows

RECORDED = list(recordings())


@pytest.fixture
def home(settings: Settings, empty_database_url: str) -> Settings:
    """The settings of a system without a schema."""
    return settings.model_copy(update={"database_url": SecretStr(empty_database_url)})


@pytest.fixture
def ledger(home: Settings) -> Iterator[Ledger]:
    with contextlib.closing(Ledger(home, connections=1)) as ledger:
        yield ledger


def test_the_last_release_finds_its_columns_and_may_leave_out_what_is_newer(
    home: Settings, ledger: Ledger
) -> None:
    restore(RECORDED[-1], home)
    before = columns(ledger)

    upgrade(home)

    after = columns(ledger)
    tables = {table for table, _ in before}
    new = {key: each for key, each in after.items() if key not in before and key[0] in tables}
    assert {key: after.get(key) for key in before} == before
    assert [key for key, each in new.items() if not each.may_lack] == []


@pytest.mark.parametrize("recording", RECORDED, ids=[each.version for each in RECORDED])
def test_the_schema_goes_back_to_a_release_and_both_versions_rows_survive(
    recording: Recording, home: Settings, ledger: Ledger
) -> None:
    restore(recording, home)
    revision, released, old_rows = revisions(home)[0], columns(ledger), rows(ledger)
    assert revision is not None
    upgrade(home)
    newest = columns(ledger)
    made = make_batch(ledger, 2)
    fill_in_what_is_newer(ledger)

    downgrade(home, revision)
    taken_back = columns(ledger), rows(ledger)
    upgrade(home)

    assert taken_back[0] == released
    assert taken_back[1] > old_rows != set()
    assert columns(ledger) == newest
    with ledger.begin() as session:
        found = text("select state from jobs where batch_id = :id")
        assert session.scalars(found, {"id": made}).all() == ["waiting"] * 2


def fill_in_what_is_newer(ledger: Ledger) -> None:
    """Use the columns and tables that came after the first release."""
    with ledger.begin() as session:
        session.execute(text("update jobs set source_etag = 'e' where state = 'waiting'"))
        session.execute(text("insert into bookmarks values (1, '{}', '{}', now())"))


@pytest.mark.parametrize("revision", ["0002", "9999"])
def test_nobody_goes_back_further_than_the_first_release(settings: Settings, revision: str) -> None:
    with pytest.raises(RevisionUnknown, match=rf"'{revision}' .*these are: .*{OLDEST}; .*restore"):
        downgrade(settings, revision)

    assert revisions(settings)[0] == revisions(settings)[1]


def test_only_the_version_that_brought_a_schema_takes_it_back(settings: Settings) -> None:
    with contextlib.closing(Ledger(settings, connections=1)) as ledger, ledger.begin() as session:
        session.execute(text("update alembic_version set version_num = '9999'"))

    with pytest.raises(RevisionUnknown, match=r"at 9999, .*with the version that brought it"):
        downgrade(settings, OLDEST)
