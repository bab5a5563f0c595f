"""`python -m tests.benchmarks.bare_api PORT`: two routes, each with one statement, and no more."""

import sys
from uuid import UUID, uuid4

import uvicorn
from fastapi import FastAPI
from sqlalchemy import text

from scheduler import settings
from scheduler.ledger.session import Ledger

SELECT = text("select id, state, note from bare where id = :id")
INSERT = text("insert into bare (id, state, note) values (:id, :state, :note)")
TABLE = text(
    "create table if not exists bare (id uuid primary key, state text not null, note text not null)"
)
KNOWN = UUID(int=1)
THREADS = 16


def make_app() -> FastAPI:
    """Return the application; its table has one row that is always there."""
    app = FastAPI()
    ledger = Ledger(settings.load(), connections=THREADS)
    with ledger.begin() as session:
        session.execute(TABLE)
        session.execute(INSERT, {"id": KNOWN, "state": "waiting", "note": "x" * 100})

    @app.get("/{id}")
    def read(id: UUID) -> dict[str, str]:
        with ledger.autocommit(durable=False) as connection:
            row = connection.execute(SELECT, {"id": id}).one()
        return {"id": str(row.id), "state": row.state, "note": row.note}

    @app.post("/")
    def add(body: dict[str, str]) -> dict[str, str]:
        id_ = uuid4()
        with ledger.begin() as session:
            session.execute(INSERT, {"id": id_, "state": "waiting", "note": body["note"]})
        return {"id": str(id_)}

    return app


if __name__ == "__main__":
    uvicorn.run(
        make_app(), port=int(sys.argv[1]), http="httptools", log_config=None, access_log=False
    )
