"""tell subscribers.

The trigger on `events` is what makes a message certain: whoever writes an event, in whichever
statement, leaves it in the outbox within the same transaction if somebody may want to hear of it.
It looks once a statement, so that a million events that nobody subscribed to cost next to nothing.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

NOTE = """
create function note_events() returns trigger language plpgsql as $$
begin
    insert into outbox (event_id, type, batch_id, job_id, at)
    select id, type, batch_id, job_id, at from told
    where exists (
        select from subscriptions s where s.job_id is null and s.batch_id is null
            and s.state <> 'disabled' and told.type = any(s.events)
    ) or exists (
        select from subscriptions s where s.batch_id = told.batch_id
            and s.state <> 'disabled' and told.type = any(s.events)
    ) or exists (
        select from subscriptions s where s.job_id = told.job_id
            and s.state <> 'disabled' and told.type = any(s.events)
    );
    return null;
end $$
"""
TRIGGER = """
create trigger note_events after insert on events referencing new table as told
for each statement execute function note_events()
"""
WEEKS = """
select substr(inhrelid::regclass::text, 8) as week,
    pg_get_expr(relpartbound, inhrelid) as bounds
from pg_inherits join pg_class on pg_class.oid = inhrelid where inhparent = 'events'::regclass
"""


def upgrade() -> None:
    """Apply."""
    _create_subscriptions()
    _create_deliveries()
    _create_keys()
    op.execute(NOTE)
    op.execute(TRIGGER)


def _time(name: str, *, default: str | None = None) -> sa.Column[object]:
    now = None if default is None else sa.text(default)
    return sa.Column(name, sa.DateTime(timezone=True), server_default=now, nullable=default is None)


def _create_subscriptions() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), server_default="", nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("style", sa.Text(), nullable=False),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("endpoint", sa.Text(), nullable=True),
        sa.Column("prefix", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        _time("failing_since"),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        _time("created_at", default="now()"),
        sa.CheckConstraint("style in ('fal', 'ours')", name="ck_subscriptions_style"),
        sa.CheckConstraint(
            "state in ('active', 'paused', 'disabled')", name="ck_subscriptions_state"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_subscriptions"),
    )
    op.create_index(
        "ix_subscriptions_job_id",
        "subscriptions",
        ["job_id"],
        postgresql_where=sa.text("job_id is not null"),
    )
    op.create_index(
        "uq_subscriptions_batch_id_url",
        "subscriptions",
        ["batch_id", "url"],
        unique=True,
        postgresql_where=sa.text("batch_id is not null"),
    )
    op.create_index(
        "ix_subscriptions_standing",
        "subscriptions",
        ["id"],
        postgresql_where=sa.text("job_id is null and batch_id is null"),
    )


def _create_deliveries() -> None:
    op.create_table(
        "outbox",
        sa.Column("event_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_outbox"),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.01"},
    )
    op.execute("""
        create table deliveries (
            batch_id uuid not null, event_id bigint not null, subscription_id uuid not null,
            job_id uuid, type text not null, origin text not null,
            state text not null default 'due', epoch integer not null default 0,
            failures integer not null default 0, happened_at timestamptz not null,
            due_at timestamptz not null default now(), ended_at timestamptz, tried_at timestamptz,
            status integer, answer text, body text not null,
            constraint ck_deliveries_state
                check (state in ('due', 'sending', 'delivered', 'dead')),
            constraint pk_deliveries primary key (batch_id, event_id, subscription_id)
        ) partition by range (batch_id)
    """)
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["origin", "due_at"],
        postgresql_where=sa.text("state in ('due', 'sending')"),
    )
    op.create_index(
        "ix_deliveries_dead",
        "deliveries",
        ["event_id"],
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_index(
        "ix_deliveries_oldest",
        "deliveries",
        ["happened_at"],
        postgresql_where=sa.text("state in ('due', 'sending') and due_at < 'infinity'"),
    )
    for week in op.get_bind().execute(sa.text(WEEKS)).all():
        op.execute(f"create table deliveries_{week.week} partition of deliveries {week.bounds}")


def _create_keys() -> None:
    op.create_table(
        "delivery_rates",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failed", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("origin", "hour", name="pk_delivery_rates"),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "webhook_keys",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        _time("created_at", default="now()"),
        _time("signs_from", default="now()"),
        _time("expires_at"),
        sa.CheckConstraint("kind in ('ed25519', 'hmac')", name="ck_webhook_keys_kind"),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_keys"),
    )


def downgrade() -> None:
    """Take back."""
    op.execute("drop trigger note_events on events")
    op.execute("drop function note_events")
    for table in ("webhook_keys", "delivery_rates", "deliveries", "outbox", "subscriptions"):
        op.drop_table(table)
