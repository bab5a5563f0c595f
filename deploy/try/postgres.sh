#!/bin/bash
# What PostgreSQL's image does at its start, as far as docker-compose.yml needs it.
set -euo pipefail
data=/var/lib/postgresql/data

if [ ! -s "$data/PG_VERSION" ]; then
  initdb --pgdata "$data" --locale C.UTF-8 --username "$POSTGRES_USER" --pwfile <(printf %s "$POSTGRES_PASSWORD") \
    --auth-local trust --auth-host scram-sha-256
  echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
  pg_ctl --pgdata "$data" --options "-c listen_addresses=''" --wait start
  createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl --pgdata "$data" --mode fast --wait stop
fi
exec postgres -D "$data" -c listen_addresses='*'
