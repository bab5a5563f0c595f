"""`enlarger keys`, and what the ledger keeps of them."""

from sqlalchemy import text

from scheduler.ledger import keys
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from tests.scheduler.command import enlarger


def test_a_key_is_made_listed_and_revoked_and_its_secret_is_not_kept(
    settings: Settings, ledger: Ledger
) -> None:
    made = enlarger("keys", "create", "--owner", "alice", "--max-queued", "7", settings=settings)
    credential = made.out.strip()
    with ledger.begin() as session:
        caller = keys.find(session, credential)
        stored = session.execute(text("select cast(api_keys as text) from api_keys")).scalar_one()
    listed = enlarger("keys", "list", "--json", settings=settings)
    revoked = enlarger("keys", "revoke", credential.partition(":")[0], settings=settings)
    with ledger.begin() as session:
        afterwards = keys.find(session, credential)

    assert caller is not None
    assert (caller.owner, caller.max_queued) == ("alice", 7)
    assert caller.scopes == {"requests", "files", "batches"}
    assert credential.partition(":")[2] not in stored
    assert (listed.json()["owner"], "secret" in listed.out) == ("alice", False)
    assert revoked.code == 0
    assert afterwards is None
