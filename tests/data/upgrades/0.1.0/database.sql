--
-- PostgreSQL database dump
--

\restrict Jfyf5S457ZVI3hvGxOpCaUzhruIsjI1d9zALLDcXyeUSZ18uTxRQHjhAYmdSLjf

-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: note_events(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.note_events() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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
end $$;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: alembic_version; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);


--
-- Name: api_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.api_keys (
    id uuid NOT NULL,
    name text NOT NULL,
    owner text NOT NULL,
    secret_hash bytea NOT NULL,
    scopes text[] NOT NULL,
    max_queued integer,
    per_minute integer,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone
);


--
-- Name: batch_deltas; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.batch_deltas (
    id bigint NOT NULL,
    batch_id uuid NOT NULL,
    total bigint DEFAULT '0'::bigint NOT NULL,
    succeeded bigint DEFAULT '0'::bigint NOT NULL,
    failed bigint DEFAULT '0'::bigint NOT NULL,
    cancelled bigint DEFAULT '0'::bigint NOT NULL,
    rejected bigint DEFAULT '0'::bigint NOT NULL,
    skipped bigint DEFAULT '0'::bigint NOT NULL,
    bytes_out bigint DEFAULT '0'::bigint NOT NULL,
    device_s double precision DEFAULT '0'::double precision NOT NULL,
    existing bigint DEFAULT '0'::bigint NOT NULL,
    reused bigint DEFAULT '0'::bigint NOT NULL
);


--
-- Name: batches; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.batches (
    id uuid NOT NULL,
    owner text DEFAULT ''::text NOT NULL,
    state text NOT NULL,
    priority smallint DEFAULT '0'::smallint NOT NULL,
    source text NOT NULL,
    source_version text NOT NULL,
    destination text NOT NULL,
    endpoint text NOT NULL,
    arguments jsonb NOT NULL,
    options jsonb NOT NULL,
    fingerprint text,
    cursor jsonb,
    reason text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    read_at timestamp with time zone,
    ended_at timestamp with time zone,
    reported_at timestamp with time zone,
    total bigint DEFAULT '0'::bigint NOT NULL,
    succeeded bigint DEFAULT '0'::bigint NOT NULL,
    failed bigint DEFAULT '0'::bigint NOT NULL,
    cancelled bigint DEFAULT '0'::bigint NOT NULL,
    rejected bigint DEFAULT '0'::bigint NOT NULL,
    skipped bigint DEFAULT '0'::bigint NOT NULL,
    bytes_out bigint DEFAULT '0'::bigint NOT NULL,
    device_s double precision DEFAULT '0'::double precision NOT NULL,
    pipelines text[] DEFAULT '{}'::text[] NOT NULL,
    pruned_at timestamp with time zone,
    feed text,
    fed_until timestamp with time zone,
    existing bigint DEFAULT '0'::bigint NOT NULL,
    reused bigint DEFAULT '0'::bigint NOT NULL,
    retrying text[],
    retried bigint DEFAULT '0'::bigint NOT NULL,
    discarded bigint DEFAULT '0'::bigint NOT NULL,
    discarded_at timestamp with time zone,
    CONSTRAINT ck_batches_state CHECK ((state = ANY (ARRAY['reading'::text, 'open'::text, 'paused'::text, 'finished'::text, 'cancelled'::text, 'unreadable'::text])))
)
WITH (fillfactor='70');


--
-- Name: jobs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.jobs (
    id uuid NOT NULL,
    batch_id uuid NOT NULL,
    line bigint NOT NULL,
    state text NOT NULL,
    pipeline text NOT NULL,
    endpoint text NOT NULL,
    source text,
    source_version text,
    destination text,
    destination_key uuid,
    custom_id text,
    arguments jsonb NOT NULL,
    passthrough jsonb,
    seed bigint,
    epoch integer DEFAULT 0 NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    alone boolean DEFAULT false NOT NULL,
    cancel_requested boolean DEFAULT false NOT NULL,
    run_after timestamp with time zone DEFAULT now() NOT NULL,
    queued_at timestamp with time zone,
    started_at timestamp with time zone,
    deadline timestamp with time zone,
    ended_at timestamp with time zone,
    worker_id uuid,
    outcome jsonb,
    error jsonb,
    source_alternative text,
    CONSTRAINT ck_jobs_state CHECK ((state = ANY (ARRAY['waiting'::text, 'queued'::text, 'running'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text, 'rejected'::text])))
)
PARTITION BY RANGE (id);


--
-- Name: backlog; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.backlog AS
 WITH handed AS (
         SELECT jobs.batch_id,
            jobs.state,
            count(*) AS jobs
           FROM public.jobs
          WHERE (jobs.state = 'queued'::text)
          GROUP BY jobs.batch_id, jobs.state
        UNION ALL
         SELECT jobs.batch_id,
            jobs.state,
            count(*) AS count
           FROM public.jobs
          WHERE (jobs.state = 'running'::text)
          GROUP BY jobs.batch_id, jobs.state
        ), active AS (
         SELECT b.id,
            b.endpoint,
            b.priority,
            (b.state = 'paused'::text) AS paused,
            ((((((b.total - b.succeeded) - b.failed) - b.cancelled) - b.rejected))::numeric + COALESCE(d.open, (0)::numeric)) AS open,
            COALESCE(( SELECT sum(handed.jobs) AS sum
                   FROM handed
                  WHERE ((handed.batch_id = b.id) AND (handed.state = 'queued'::text))), (0)::numeric) AS queued,
            COALESCE(( SELECT sum(handed.jobs) AS sum
                   FROM handed
                  WHERE ((handed.batch_id = b.id) AND (handed.state = 'running'::text))), (0)::numeric) AS running
           FROM (public.batches b
             CROSS JOIN LATERAL ( SELECT sum(((((batch_deltas.total - batch_deltas.succeeded) - batch_deltas.failed) - batch_deltas.cancelled) - batch_deltas.rejected)) AS open
                   FROM public.batch_deltas
                  WHERE (batch_deltas.batch_id = b.id)) d)
          WHERE (b.ended_at IS NULL)
        ), reckoned AS (
         SELECT active.id,
            active.endpoint,
            active.priority,
            active.paused,
            active.open,
            active.queued,
            active.running,
            (GREATEST(((active.open - active.queued) - active.running), (0)::numeric))::bigint AS idle
           FROM active
        )
 SELECT endpoint,
    priority,
    count(*) AS batches,
    (COALESCE(sum(idle) FILTER (WHERE (NOT paused)), (0)::numeric))::bigint AS waiting,
    (COALESCE(sum(idle) FILTER (WHERE paused), (0)::numeric))::bigint AS paused,
    (sum(queued))::bigint AS queued,
    (sum(running))::bigint AS running,
    (((COALESCE(sum(idle) FILTER (WHERE (NOT paused)), (0)::numeric) + sum(queued)) + sum(running)))::bigint AS work
   FROM reckoned
  GROUP BY endpoint, priority;


--
-- Name: batch_deltas_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.batch_deltas ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.batch_deltas_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: dead_events; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.dead_events (
    id bigint NOT NULL,
    source text NOT NULL,
    reason text NOT NULL,
    body text NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: dead_events_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.dead_events ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.dead_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: deliveries; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.deliveries (
    batch_id uuid NOT NULL,
    event_id bigint NOT NULL,
    subscription_id uuid NOT NULL,
    job_id uuid,
    type text NOT NULL,
    origin text NOT NULL,
    state text DEFAULT 'due'::text NOT NULL,
    epoch integer DEFAULT 0 NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    happened_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    tried_at timestamp with time zone,
    status integer,
    answer text,
    body text NOT NULL,
    CONSTRAINT ck_deliveries_state CHECK ((state = ANY (ARRAY['due'::text, 'sending'::text, 'delivered'::text, 'dead'::text])))
)
PARTITION BY RANGE (batch_id);


--
-- Name: deliveries_2968; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.deliveries_2968 (
    batch_id uuid CONSTRAINT deliveries_batch_id_not_null NOT NULL,
    event_id bigint CONSTRAINT deliveries_event_id_not_null NOT NULL,
    subscription_id uuid CONSTRAINT deliveries_subscription_id_not_null NOT NULL,
    job_id uuid,
    type text CONSTRAINT deliveries_type_not_null NOT NULL,
    origin text CONSTRAINT deliveries_origin_not_null NOT NULL,
    state text DEFAULT 'due'::text CONSTRAINT deliveries_state_not_null NOT NULL,
    epoch integer DEFAULT 0 CONSTRAINT deliveries_epoch_not_null NOT NULL,
    failures integer DEFAULT 0 CONSTRAINT deliveries_failures_not_null NOT NULL,
    happened_at timestamp with time zone CONSTRAINT deliveries_happened_at_not_null NOT NULL,
    due_at timestamp with time zone DEFAULT now() CONSTRAINT deliveries_due_at_not_null NOT NULL,
    ended_at timestamp with time zone,
    tried_at timestamp with time zone,
    status integer,
    answer text,
    body text CONSTRAINT deliveries_body_not_null NOT NULL,
    CONSTRAINT ck_deliveries_state CHECK ((state = ANY (ARRAY['due'::text, 'sending'::text, 'delivered'::text, 'dead'::text])))
);


--
-- Name: delivery_rates; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.delivery_rates (
    origin text NOT NULL,
    hour timestamp with time zone NOT NULL,
    delivered bigint DEFAULT '0'::bigint NOT NULL,
    failed bigint DEFAULT '0'::bigint NOT NULL
)
WITH (fillfactor='50');


--
-- Name: events; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.events (
    id bigint NOT NULL,
    type text NOT NULL,
    batch_id uuid NOT NULL,
    job_id uuid,
    at timestamp with time zone DEFAULT now() NOT NULL,
    body jsonb
)
PARTITION BY RANGE (batch_id);


--
-- Name: events_2968; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.events_2968 (
    id bigint CONSTRAINT events_id_not_null NOT NULL,
    type text CONSTRAINT events_type_not_null NOT NULL,
    batch_id uuid CONSTRAINT events_batch_id_not_null NOT NULL,
    job_id uuid,
    at timestamp with time zone DEFAULT now() CONSTRAINT events_at_not_null NOT NULL,
    body jsonb
);


--
-- Name: events_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.events ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: feed_lines; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.feed_lines
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    MAXVALUE 4294967295
    CACHE 1
    CYCLE;


--
-- Name: files; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.files (
    id uuid NOT NULL,
    owner text NOT NULL,
    name text NOT NULL,
    content_type text NOT NULL,
    digest text,
    size bigint,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone
);


--
-- Name: held_arrivals; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.held_arrivals (
    id bigint NOT NULL,
    trigger_id uuid NOT NULL,
    arrival jsonb NOT NULL
);


--
-- Name: held_arrivals_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.held_arrivals ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.held_arrivals_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: job_logs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.job_logs (
    job_id uuid NOT NULL,
    epoch integer NOT NULL,
    entries jsonb NOT NULL
);


--
-- Name: jobs_2968; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.jobs_2968 (
    id uuid CONSTRAINT jobs_id_not_null NOT NULL,
    batch_id uuid CONSTRAINT jobs_batch_id_not_null NOT NULL,
    line bigint CONSTRAINT jobs_line_not_null NOT NULL,
    state text CONSTRAINT jobs_state_not_null NOT NULL,
    pipeline text CONSTRAINT jobs_pipeline_not_null NOT NULL,
    endpoint text CONSTRAINT jobs_endpoint_not_null NOT NULL,
    source text,
    source_version text,
    destination text,
    destination_key uuid,
    custom_id text,
    arguments jsonb CONSTRAINT jobs_arguments_not_null NOT NULL,
    passthrough jsonb,
    seed bigint,
    epoch integer DEFAULT 0 CONSTRAINT jobs_epoch_not_null NOT NULL,
    failures integer DEFAULT 0 CONSTRAINT jobs_failures_not_null NOT NULL,
    alone boolean DEFAULT false CONSTRAINT jobs_alone_not_null NOT NULL,
    cancel_requested boolean DEFAULT false CONSTRAINT jobs_cancel_requested_not_null NOT NULL,
    run_after timestamp with time zone DEFAULT now() CONSTRAINT jobs_run_after_not_null NOT NULL,
    queued_at timestamp with time zone,
    started_at timestamp with time zone,
    deadline timestamp with time zone,
    ended_at timestamp with time zone,
    worker_id uuid,
    outcome jsonb,
    error jsonb,
    source_alternative text,
    CONSTRAINT ck_jobs_state CHECK ((state = ANY (ARRAY['waiting'::text, 'queued'::text, 'running'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text, 'rejected'::text])))
)
WITH (fillfactor='85', autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_cost_delay='0');


--
-- Name: leases; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.leases (
    worker_id uuid NOT NULL,
    expires_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50');


--
-- Name: outbox; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.outbox (
    event_id bigint NOT NULL,
    type text NOT NULL,
    batch_id uuid NOT NULL,
    job_id uuid,
    at timestamp with time zone NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.01');


--
-- Name: outputs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.outputs (
    job_id uuid NOT NULL,
    folder text NOT NULL,
    inputs uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    transient boolean DEFAULT false NOT NULL,
    delivered boolean DEFAULT false NOT NULL,
    expires_at timestamp with time zone
);


--
-- Name: queue_counters; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.queue_counters (
    batch_id uuid NOT NULL,
    arrived bigint NOT NULL,
    gone bigint NOT NULL,
    refreshed_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: requests; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.requests (
    id uuid NOT NULL,
    owner text NOT NULL,
    endpoint text NOT NULL,
    cdn text NOT NULL,
    place bigint NOT NULL,
    start_by timestamp with time zone,
    start_within_s double precision,
    idempotency_key text,
    fingerprint text,
    transient boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: reusable; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.reusable (
    owner text NOT NULL,
    recipe bytea NOT NULL,
    job_id uuid NOT NULL,
    result jsonb NOT NULL,
    made_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: subscriptions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.subscriptions (
    id uuid NOT NULL,
    owner text DEFAULT ''::text NOT NULL,
    url text NOT NULL,
    origin text NOT NULL,
    style text NOT NULL,
    events text[] NOT NULL,
    job_id uuid,
    batch_id uuid,
    endpoint text,
    prefix text,
    state text DEFAULT 'active'::text NOT NULL,
    reason text,
    failing_since timestamp with time zone,
    failures integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_subscriptions_ck_subscriptions_state CHECK ((state = ANY (ARRAY['active'::text, 'paused'::text, 'disabled'::text]))),
    CONSTRAINT ck_subscriptions_ck_subscriptions_style CHECK ((style = ANY (ARRAY['fal'::text, 'ours'::text])))
);


--
-- Name: taken_objects; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.taken_objects (
    trigger_id uuid NOT NULL,
    object uuid NOT NULL,
    taken_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: triggers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.triggers (
    id uuid NOT NULL,
    name text NOT NULL,
    owner text DEFAULT ''::text NOT NULL,
    bucket text NOT NULL,
    prefix text NOT NULL,
    suffixes text[] NOT NULL,
    globs text[] NOT NULL,
    excludes text[] NOT NULL,
    endpoint text NOT NULL,
    arguments jsonb NOT NULL,
    destination text NOT NULL,
    priority smallint NOT NULL,
    webhook text,
    paused boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    removed_at timestamp with time zone
);


--
-- Name: webhook_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.webhook_keys (
    id bigint NOT NULL,
    kind text NOT NULL,
    subscription_id uuid,
    secret bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    signs_from timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    CONSTRAINT ck_webhook_keys_ck_webhook_keys_kind CHECK ((kind = ANY (ARRAY['ed25519'::text, 'hmac'::text])))
);


--
-- Name: webhook_keys_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.webhook_keys ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.webhook_keys_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: workers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.workers (
    id uuid NOT NULL,
    name text NOT NULL,
    device text NOT NULL,
    memory_bytes bigint NOT NULL,
    version text NOT NULL,
    resident jsonb NOT NULL,
    ready jsonb NOT NULL,
    not_ready jsonb NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    last_seen timestamp with time zone DEFAULT now() NOT NULL,
    stopped_at timestamp with time zone,
    figures jsonb DEFAULT '{}'::jsonb NOT NULL,
    lapsed boolean DEFAULT false NOT NULL
);


--
-- Name: deliveries_2968; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.deliveries ATTACH PARTITION public.deliveries_2968 FOR VALUES FROM ('01a1f11a-6000-0000-0000-000000000000') TO ('01a21526-e400-0000-0000-000000000000');


--
-- Name: events_2968; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events ATTACH PARTITION public.events_2968 FOR VALUES FROM ('01a1f11a-6000-0000-0000-000000000000') TO ('01a21526-e400-0000-0000-000000000000');


--
-- Name: jobs_2968; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs ATTACH PARTITION public.jobs_2968 FOR VALUES FROM ('01a1f11a-6000-0000-0000-000000000000') TO ('01a21526-e400-0000-0000-000000000000');


--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.alembic_version VALUES ('0017');


--
-- Data for Name: api_keys; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.api_keys VALUES ('24c9bafb-44c4-4c39-976a-10275c0bddf0', '', 'ann', '\xcda36e92c4c7f70d56711950feba92959f53f8d9e30da92603df9cfd9e9d04aa', '{requests,files,batches}', NULL, NULL, '2026-11-24 16:25:42.190618+00', NULL);


--
-- Data for Name: batch_deltas; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.batch_deltas VALUES (1, '01a20e60-9c32-71a1-8e25-cb00c2ad0758', 4, 0, 0, 0, 0, 0, 0, 0, 0, 0);
INSERT INTO public.batch_deltas VALUES (2, '01a20e60-9c3f-718f-977c-c013c5eca9ad', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0);
INSERT INTO public.batch_deltas VALUES (3, '01a20e60-9c32-71a1-8e25-cb00c2ad0758', 0, 1, 0, 0, 0, 0, 0, 0, 0, 0);


--
-- Data for Name: batches; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.batches VALUES ('01a20e60-9c32-71a1-8e25-cb00c2ad0758', 'ann', 'open', 0, 'file:///photos/', '1', 'file:///results/', 'enlarger/lanczos', '{}', '{"in_place": false, "only_if_absent": false}', '01a20e60-9c32-71a1-8e25-cb00c2ad0758', '{"line": 4}', NULL, '2026-11-24 16:25:42.195018+00', '2026-11-24 16:25:42.205889+00', NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, '{enlarger/lanczos}', NULL, NULL, NULL, 0, 0, NULL, 0, 0, NULL);
INSERT INTO public.batches VALUES ('01a20e60-9c3f-718f-977c-c013c5eca9ad', '', 'paused', 0, 'file:///photos/', '1', 'file:///results/', 'enlarger/lanczos', '{}', '{"in_place": false, "only_if_absent": false}', '01a20e60-9c3f-718f-977c-c013c5eca9ad', '{"line": 1}', NULL, '2026-11-24 16:25:42.207653+00', '2026-11-24 16:25:42.213029+00', NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, '{enlarger/lanczos}', NULL, NULL, NULL, 0, 0, NULL, 0, 0, NULL);


--
-- Data for Name: dead_events; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: deliveries_2968; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: delivery_rates; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: events_2968; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.events_2968 VALUES (2, 'batch.submitted', '01a20e60-9c32-71a1-8e25-cb00c2ad0758', NULL, '2026-11-24 16:25:42.195018+00', NULL);
INSERT INTO public.events_2968 VALUES (3, 'batch.submitted', '01a20e60-9c3f-718f-977c-c013c5eca9ad', NULL, '2026-11-24 16:25:42.207653+00', NULL);
INSERT INTO public.events_2968 VALUES (4, 'batch.paused', '01a20e60-9c3f-718f-977c-c013c5eca9ad', NULL, '2026-11-24 16:25:42.21664+00', NULL);
INSERT INTO public.events_2968 VALUES (5, 'job.succeeded', '01a20e60-9c32-71a1-8e25-cb00c2ad0758', '01a20e60-9c32-71a1-8e25-cb0000000001', '2026-11-24 16:25:42.39515+00', NULL);


--
-- Data for Name: files; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: held_arrivals; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: job_logs; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: jobs_2968; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.jobs_2968 VALUES ('01a20e60-9c32-71a1-8e25-cb0000000004', '01a20e60-9c32-71a1-8e25-cb00c2ad0758', 4, 'waiting', 'enlarger/lanczos', 'enlarger/lanczos', 'file:///photos/4.png', NULL, 'file:///results/4.png', 'ab301c0b-9a7d-4c92-4f26-6714511b6edf', NULL, '{}', NULL, 7, 0, 0, false, false, '2026-11-24 16:25:42.195018+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs_2968 VALUES ('01a20e60-9c3f-718f-977c-c01300000001', '01a20e60-9c3f-718f-977c-c013c5eca9ad', 1, 'waiting', 'enlarger/lanczos', 'enlarger/lanczos', 'file:///photos/1.png', NULL, 'file:///results/1.png', '6b6e8353-ee8c-f601-417a-d7309e1bc095', NULL, '{}', NULL, 7, 0, 0, false, false, '2026-11-24 16:25:42.207653+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs_2968 VALUES ('01a20e60-9c32-71a1-8e25-cb0000000001', '01a20e60-9c32-71a1-8e25-cb00c2ad0758', 1, 'succeeded', 'enlarger/lanczos', 'enlarger/lanczos', 'file:///photos/1.png', NULL, 'file:///results/1.png', '6b6e8353-ee8c-f601-417a-d7309e1bc095', NULL, '{}', NULL, 7, 1, 0, false, false, '2026-11-24 16:25:42.195018+00', '2026-11-24 16:25:42.267832+00', '2026-11-24 16:25:42.397629+00', NULL, '2026-11-24 16:25:42.407081+00', '01a20e60-9c66-7229-bb7f-c2714dcba444', '{"body": {}, "objects": []}', NULL, NULL);
INSERT INTO public.jobs_2968 VALUES ('01a20e60-9c32-71a1-8e25-cb0000000003', '01a20e60-9c32-71a1-8e25-cb00c2ad0758', 3, 'queued', 'enlarger/lanczos', 'enlarger/lanczos', 'file:///photos/3.png', NULL, 'file:///results/3.png', 'd029fedf-9417-7aba-5033-b9c9a0ba1188', NULL, '{}', NULL, 7, 0, 0, false, false, '2026-11-24 16:25:42.195018+00', '2026-11-24 16:25:42.411315+00', NULL, NULL, NULL, '01a20e60-9c66-7229-bb7f-c2714dcba444', NULL, NULL, NULL);
INSERT INTO public.jobs_2968 VALUES ('01a20e60-9c32-71a1-8e25-cb0000000002', '01a20e60-9c32-71a1-8e25-cb00c2ad0758', 2, 'running', 'enlarger/lanczos', 'enlarger/lanczos', 'file:///photos/2.png', NULL, 'file:///results/2.png', 'd73bd26f-b3a5-a58d-4ea0-02f84f3fbcd6', NULL, '{}', NULL, 7, 1, 0, false, false, '2026-11-24 16:25:42.195018+00', '2026-11-24 16:25:42.267832+00', '2026-11-24 16:25:42.443503+00', '2026-11-24 16:26:42.443503+00', NULL, '01a20e60-9c66-7229-bb7f-c2714dcba444', NULL, NULL, NULL);


--
-- Data for Name: leases; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: outbox; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.outbox VALUES (5, 'job.succeeded', '01a20e60-9c32-71a1-8e25-cb00c2ad0758', '01a20e60-9c32-71a1-8e25-cb0000000001', '2026-11-24 16:25:42.39515+00');


--
-- Data for Name: outputs; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: queue_counters; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: requests; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: reusable; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: subscriptions; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.subscriptions VALUES ('01a20e60-9c30-746f-b6fb-43e1810ba269', '', 'http://127.0.0.1:9/hook', 'http://127.0.0.1:9', 'ours', '{job.succeeded,batch.finished}', NULL, NULL, NULL, NULL, 'active', NULL, NULL, 0, '2026-11-24 16:25:42.190618+00');


--
-- Data for Name: taken_objects; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: triggers; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: webhook_keys; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: workers; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.workers VALUES ('01a20e60-9c66-7229-bb7f-c2714dcba444', 'host:1', 'cpu', 1073741824, '0.1.0', '{}', '{"enlarger/lanczos": true}', '{}', '2026-11-24 16:25:42.247069+00', '2026-11-24 16:25:42.247069+00', '2026-11-24 16:25:42.444526+00', '{"ended": [["enlarger/lanczos", "succeeded", "", 1, ""]], "stages": []}', false);


--
-- Name: batch_deltas_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.batch_deltas_id_seq', 3, true);


--
-- Name: dead_events_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.dead_events_id_seq', 1, false);


--
-- Name: events_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.events_id_seq', 5, true);


--
-- Name: feed_lines; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.feed_lines', 1, false);


--
-- Name: held_arrivals_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.held_arrivals_id_seq', 1, false);


--
-- Name: webhook_keys_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.webhook_keys_id_seq', 1, false);


--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: deliveries pk_deliveries; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT pk_deliveries PRIMARY KEY (batch_id, event_id, subscription_id);


--
-- Name: deliveries_2968 deliveries_2968_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.deliveries_2968
    ADD CONSTRAINT deliveries_2968_pkey PRIMARY KEY (batch_id, event_id, subscription_id);


--
-- Name: events pk_events; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events
    ADD CONSTRAINT pk_events PRIMARY KEY (id, batch_id);


--
-- Name: events_2968 events_2968_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events_2968
    ADD CONSTRAINT events_2968_pkey PRIMARY KEY (id, batch_id);


--
-- Name: jobs pk_jobs; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT pk_jobs PRIMARY KEY (id);


--
-- Name: jobs_2968 jobs_2968_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs_2968
    ADD CONSTRAINT jobs_2968_pkey PRIMARY KEY (id);


--
-- Name: api_keys pk_api_keys; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT pk_api_keys PRIMARY KEY (id);


--
-- Name: batch_deltas pk_batch_deltas; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.batch_deltas
    ADD CONSTRAINT pk_batch_deltas PRIMARY KEY (id);


--
-- Name: batches pk_batches; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.batches
    ADD CONSTRAINT pk_batches PRIMARY KEY (id);


--
-- Name: dead_events pk_dead_events; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.dead_events
    ADD CONSTRAINT pk_dead_events PRIMARY KEY (id);


--
-- Name: delivery_rates pk_delivery_rates; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.delivery_rates
    ADD CONSTRAINT pk_delivery_rates PRIMARY KEY (origin, hour);


--
-- Name: files pk_files; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.files
    ADD CONSTRAINT pk_files PRIMARY KEY (id);


--
-- Name: held_arrivals pk_held_arrivals; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.held_arrivals
    ADD CONSTRAINT pk_held_arrivals PRIMARY KEY (id);


--
-- Name: job_logs pk_job_logs; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_logs
    ADD CONSTRAINT pk_job_logs PRIMARY KEY (job_id);


--
-- Name: leases pk_leases; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.leases
    ADD CONSTRAINT pk_leases PRIMARY KEY (worker_id);


--
-- Name: outbox pk_outbox; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT pk_outbox PRIMARY KEY (event_id);


--
-- Name: outputs pk_outputs; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.outputs
    ADD CONSTRAINT pk_outputs PRIMARY KEY (job_id);


--
-- Name: queue_counters pk_queue_counters; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.queue_counters
    ADD CONSTRAINT pk_queue_counters PRIMARY KEY (batch_id);


--
-- Name: requests pk_requests; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.requests
    ADD CONSTRAINT pk_requests PRIMARY KEY (id);


--
-- Name: reusable pk_reusable; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.reusable
    ADD CONSTRAINT pk_reusable PRIMARY KEY (owner, recipe);


--
-- Name: subscriptions pk_subscriptions; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT pk_subscriptions PRIMARY KEY (id);


--
-- Name: taken_objects pk_taken_objects; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.taken_objects
    ADD CONSTRAINT pk_taken_objects PRIMARY KEY (trigger_id, object);


--
-- Name: triggers pk_triggers; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.triggers
    ADD CONSTRAINT pk_triggers PRIMARY KEY (id);


--
-- Name: webhook_keys pk_webhook_keys; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhook_keys
    ADD CONSTRAINT pk_webhook_keys PRIMARY KEY (id);


--
-- Name: workers pk_workers; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.workers
    ADD CONSTRAINT pk_workers PRIMARY KEY (id);


--
-- Name: batches uq_batches_fingerprint; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.batches
    ADD CONSTRAINT uq_batches_fingerprint UNIQUE (fingerprint);


--
-- Name: requests uq_requests_owner_idempotency_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.requests
    ADD CONSTRAINT uq_requests_owner_idempotency_key UNIQUE (owner, idempotency_key);


--
-- Name: ix_deliveries_dead; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_deliveries_dead ON ONLY public.deliveries USING btree (event_id) WHERE (state = 'dead'::text);


--
-- Name: deliveries_2968_event_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX deliveries_2968_event_id_idx ON public.deliveries_2968 USING btree (event_id) WHERE (state = 'dead'::text);


--
-- Name: ix_deliveries_oldest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_deliveries_oldest ON ONLY public.deliveries USING btree (happened_at) WHERE ((state = ANY (ARRAY['due'::text, 'sending'::text])) AND (due_at < 'infinity'::timestamp with time zone));


--
-- Name: deliveries_2968_happened_at_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX deliveries_2968_happened_at_idx ON public.deliveries_2968 USING btree (happened_at) WHERE ((state = ANY (ARRAY['due'::text, 'sending'::text])) AND (due_at < 'infinity'::timestamp with time zone));


--
-- Name: ix_deliveries_due; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_deliveries_due ON ONLY public.deliveries USING btree (origin, due_at) WHERE (state = ANY (ARRAY['due'::text, 'sending'::text]));


--
-- Name: deliveries_2968_origin_due_at_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX deliveries_2968_origin_due_at_idx ON public.deliveries_2968 USING btree (origin, due_at) WHERE (state = ANY (ARRAY['due'::text, 'sending'::text]));


--
-- Name: ix_events_batch_id_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_events_batch_id_id ON ONLY public.events USING btree (batch_id, id);


--
-- Name: events_2968_batch_id_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX events_2968_batch_id_id_idx ON public.events_2968 USING btree (batch_id, id);


--
-- Name: ix_batch_deltas_batch_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_batch_deltas_batch_id ON public.batch_deltas USING btree (batch_id);


--
-- Name: ix_batches_active; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_batches_active ON public.batches USING btree (id) WHERE (ended_at IS NULL);


--
-- Name: ix_batches_unreported; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_batches_unreported ON public.batches USING btree (id) WHERE ((ended_at IS NOT NULL) AND (reported_at IS NULL));


--
-- Name: ix_files_digest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_files_digest ON public.files USING btree (digest);


--
-- Name: ix_files_expires_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_files_expires_at ON public.files USING btree (expires_at) WHERE (expires_at IS NOT NULL);


--
-- Name: ix_files_unfinished; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_files_unfinished ON public.files USING btree (created_at) WHERE (digest IS NULL);


--
-- Name: ix_held_arrivals_trigger_id_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_held_arrivals_trigger_id_id ON public.held_arrivals USING btree (trigger_id, id);


--
-- Name: ix_jobs_queued; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_queued ON ONLY public.jobs USING btree (pipeline, queued_at) WHERE (state = 'queued'::text);


--
-- Name: ix_jobs_running; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_running ON ONLY public.jobs USING btree (worker_id) WHERE (state = 'running'::text);


--
-- Name: ix_jobs_waiting; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_waiting ON ONLY public.jobs USING btree (batch_id, pipeline, run_after, line) WHERE (state = 'waiting'::text);


--
-- Name: ix_outputs_expires_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_outputs_expires_at ON public.outputs USING btree (expires_at) WHERE (expires_at IS NOT NULL);


--
-- Name: ix_outputs_transient; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_outputs_transient ON public.outputs USING btree (job_id) WHERE transient;


--
-- Name: ix_requests_start_by; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_requests_start_by ON public.requests USING btree (start_by) WHERE (start_by IS NOT NULL);


--
-- Name: ix_reusable_made_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_reusable_made_at ON public.reusable USING brin (made_at);


--
-- Name: ix_subscriptions_job_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_subscriptions_job_id ON public.subscriptions USING btree (job_id) WHERE (job_id IS NOT NULL);


--
-- Name: ix_subscriptions_standing; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_subscriptions_standing ON public.subscriptions USING btree (id) WHERE ((job_id IS NULL) AND (batch_id IS NULL));


--
-- Name: ix_taken_objects_taken_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_taken_objects_taken_at ON public.taken_objects USING brin (taken_at);


--
-- Name: jobs_2968_batch_id_pipeline_run_after_line_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_2968_batch_id_pipeline_run_after_line_idx ON public.jobs_2968 USING btree (batch_id, pipeline, run_after, line) WHERE (state = 'waiting'::text);


--
-- Name: jobs_2968_pipeline_queued_at_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_2968_pipeline_queued_at_idx ON public.jobs_2968 USING btree (pipeline, queued_at) WHERE (state = 'queued'::text);


--
-- Name: jobs_2968_worker_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX jobs_2968_worker_id_idx ON public.jobs_2968 USING btree (worker_id) WHERE (state = 'running'::text);


--
-- Name: uq_jobs_2968; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uq_jobs_2968 ON public.jobs_2968 USING btree (batch_id, destination_key);


--
-- Name: uq_subscriptions_batch_id_url; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uq_subscriptions_batch_id_url ON public.subscriptions USING btree (batch_id, url) WHERE (batch_id IS NOT NULL);


--
-- Name: uq_triggers_name; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uq_triggers_name ON public.triggers USING btree (name) WHERE (removed_at IS NULL);


--
-- Name: deliveries_2968_event_id_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.ix_deliveries_dead ATTACH PARTITION public.deliveries_2968_event_id_idx;


--
-- Name: deliveries_2968_happened_at_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.ix_deliveries_oldest ATTACH PARTITION public.deliveries_2968_happened_at_idx;


--
-- Name: deliveries_2968_origin_due_at_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.ix_deliveries_due ATTACH PARTITION public.deliveries_2968_origin_due_at_idx;


--
-- Name: deliveries_2968_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.pk_deliveries ATTACH PARTITION public.deliveries_2968_pkey;


--
-- Name: events_2968_batch_id_id_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.ix_events_batch_id_id ATTACH PARTITION public.events_2968_batch_id_id_idx;


--
-- Name: events_2968_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.pk_events ATTACH PARTITION public.events_2968_pkey;


--
-- Name: jobs_2968_batch_id_pipeline_run_after_line_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.ix_jobs_waiting ATTACH PARTITION public.jobs_2968_batch_id_pipeline_run_after_line_idx;


--
-- Name: jobs_2968_pipeline_queued_at_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.ix_jobs_queued ATTACH PARTITION public.jobs_2968_pipeline_queued_at_idx;


--
-- Name: jobs_2968_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.pk_jobs ATTACH PARTITION public.jobs_2968_pkey;


--
-- Name: jobs_2968_worker_id_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.ix_jobs_running ATTACH PARTITION public.jobs_2968_worker_id_idx;


--
-- Name: events note_events; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER note_events AFTER INSERT ON public.events REFERENCING NEW TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION public.note_events();


--
-- PostgreSQL database dump complete
--

\unrestrict Jfyf5S457ZVI3hvGxOpCaUzhruIsjI1d9zALLDcXyeUSZ18uTxRQHjhAYmdSLjf

