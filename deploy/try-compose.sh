#!/bin/bash
# Tries docker-compose.yml with real containers: a batch to the store, its webhook, a worker killed in
# mid-job, a worker stopped in mid-job, fal's names by TLS, Prometheus; then takes everything down.
#
#   deploy/try-compose.sh            with docker, or with podman and podman-compose (pip install podman-compose)
#
# Where no registry is reachable (or with STAND_INS=1) the images of others are stand-ins made of Debian's
# packages by debootstrap, as root; Grafana is left out. It says which. For machines with mirrors of their own:
#   DEBIAN_MIRROR   where debootstrap gets Debian 12
#   BUILD_OPTIONS   more for `build`, such as --volume for pip's configuration and what that names
#   TORCH_INDEX     where the CPU build of torch comes from; nothing (TORCH_INDEX=) for pip's own index
set -euo pipefail
# One at a time: two would take down each other's containers.
[ -n "${TRYING:-}" ] || TRYING=1 exec flock --verbose --nonblock --close "$0" "$0"
cd "$(dirname "$0")/.."

PROJECT=enlarger-try
IMAGES=localhost/$PROJECT
PYTHON=${PYTHON:-$(sed -n 's/^ARG PYTHON=//p' deploy/Dockerfile)}
FOLDER=$(mktemp -d)
STARTED=$SECONDS

say() { printf '%4d s  %s\n' $((SECONDS - STARTED)) "$*"; }
fail() { say "FAILED: $*" >&2; exit 1; }

engine() {
  if docker compose version && docker info; then echo docker
  elif podman version && command -v podman-compose; then echo podman
  fi 2>/dev/null | tail -n 1
}

ENGINE=$(engine)
[ -n "$ENGINE" ] || fail "neither docker with its compose plugin nor podman with podman-compose is here"
COMPOSE=(docker compose)
[ "$ENGINE" = docker ] || COMPOSE=(podman-compose)
[ "$ENGINE" = docker ] || BUILD_OPTIONS="--isolation chroot --network host ${BUILD_OPTIONS:-}"

build() { # TAG CONTEXT OPTION...
  local tag=$1 context=$2
  shift 2
  # shellcheck disable=SC2086 # they are several words
  "$ENGINE" build ${BUILD_OPTIONS:-} --tag "$IMAGES/$tag" "$@" "$context" >"$FOLDER/build.log" 2>&1 ||
    { tail -n 30 "$FOLDER/build.log"; fail "building $tag"; }
}

make_debian() {
  "$ENGINE" image inspect "$IMAGES/debian" >/dev/null 2>&1 && return
  command -v debootstrap >/dev/null || fail "no registry answers, and debootstrap is not installed"
  debootstrap --variant=minbase --include=ca-certificates bookworm "$FOLDER/debian" \
    "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$FOLDER/debootstrap.log" ||
    { tail -n 5 "$FOLDER/debootstrap.log"; fail "debootstrap"; }
  tar --directory "$FOLDER/debian" --create . | "$ENGINE" import - "$IMAGES/debian" >/dev/null 2>&1
  rm -rf "$FOLDER/debian"
}

make_stand_ins() {
  local each
  make_debian
  for each in python postgres redis store front prometheus; do
    build "$each" deploy/try --file deploy/try/stand-ins.Dockerfile --target "$each" \
      --build-arg DEBIAN="$IMAGES/debian"
  done
  PYTHON=$IMAGES/python
  export POSTGRES_IMAGE=$IMAGES/postgres REDIS_IMAGE=$IMAGES/redis STORE_IMAGE=$IMAGES/store
  export FRONT_IMAGE=$IMAGES/front PROMETHEUS_IMAGE=$IMAGES/prometheus
  say "stand-ins of Debian's packages: Python, PostgreSQL 15, Redis 7 for Valkey, Ceph's gateway for" \
    "SeaweedFS, Caddy 2.6, Prometheus 2.42; Grafana is left out"
}

make_ours() {
  local torch=()
  [ -z "${TORCH_INDEX+set}" ] || torch=(--build-arg TORCH_INDEX="$TORCH_INDEX")
  build scheduler . --file deploy/Dockerfile --target scheduler --build-arg PYTHON="$PYTHON"
  build worker . --file deploy/Dockerfile --target worker --build-arg PYTHON="$PYTHON" "${torch[@]}"
  export SCHEDULER_IMAGE=$IMAGES/scheduler WORKER_IMAGE=$IMAGES/worker
  local base
  base=$(bytes "$PYTHON")
  say "scheduler image: $((($(bytes "$SCHEDULER_IMAGE") - base) / 1000000)) MB over its base"
  say "worker image: $((($(bytes "$WORKER_IMAGE") - base) / 1000000)) MB over its base"
}

bytes() { "$ENGINE" image inspect --format '{{.Size}}' "$1"; }

# As a user does it: .env.example with its secrets filled in, and a little that is about this trial.
make_environment() {
  export ENV_FILE=$FOLDER/env
  {
    cat .env.example
    for each in POSTGRES_PASSWORD ENLARGER_SECRET_KEY AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; do
      echo "$each=$(head -c 20 /dev/urandom | od -An -tx1 | tr -d ' \n')"
    done
    # The receiver is on our own network, a killed worker's jobs come back soon, and no port is taken.
    printf '%s\n' SUBNET=172.31.242.0/24 FRONT_ADDRESS=172.31.242.250 \
      ENLARGER_TRUSTED_PROXIES=172.31.242.250/32 ENLARGER_WEBHOOK_ALLOW=172.31.242.0/24 \
      ENLARGER_LEASE_S=12 ENLARGER_S3_PUBLIC_URL=http://store:8333 \
      API_LISTENS=127.0.0.1:18000 STORE_LISTENS=127.0.0.1:18333 TLS_LISTENS=127.0.0.1:18443 \
      GRAFANA_LISTENS=127.0.0.1:13000 GRAFANA_PASSWORD=try
  } >"$ENV_FILE"
}

FILES=(--file docker-compose.yml --file deploy/try/compose.yml)
compose() {
  "${COMPOSE[@]}" --project-name $PROJECT --env-file "$ENV_FILE" "${FILES[@]}" \
    --profile tls --profile monitoring "$@" 2>>"$FOLDER/compose.log"
}

container() { # SERVICE
  ours ps --all --filter "label=com.docker.compose.service=$1" | head -n 1
}

within() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || { show_logs; fail "not in time: $*"; }
    sleep 1
  done
}

show_logs() {
  local each
  for each in $(ours ps --all); do
    "$ENGINE" inspect --format '--- {{.Name}}: {{.State.Status}} {{.State.ExitCode}}' "$each"
    "$ENGINE" logs --tail 8 "$each" 2>&1
  done >&2
  tail -n 20 "$FOLDER/compose.log" >&2
}

# podman runs health checks by systemd's timers, which are not everywhere: here they are run by hand.
is_healthy() { # SERVICE
  if [ "$ENGINE" = podman ]; then podman healthcheck run "$(container "$1")"
  else [ "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$1")")" = healthy ]
  fi
}

has_ended_well() { # SERVICE
  [ "$("$ENGINE" inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$(container "$1")")" = "exited 0" ]
}

# By depends_on with docker. podman-compose does not wait for health before podman 4.6, and such a podman can't
# start what requires what requires something else: there the order is kept here.
start() { # SERVICE...
  local alone=()
  [ "$ENGINE" = docker ] || alone=(--no-deps)
  compose up --detach "${alone[@]}" "$@" >/dev/null || { show_logs; fail "starting $*"; }
}

bring_up() {
  local each
  start postgres redis store
  for each in postgres redis store; do within 180 is_healthy "$each"; done
  start migrate buckets
  for each in migrate buckets; do within 120 has_ended_well "$each"; done
  start scheduler api sender worker tester
  for each in scheduler sender api; do within 300 is_healthy "$each"; done
  start front metrics-key "${MONITORING[@]}"
  within 120 is_healthy worker
  within 60 is_healthy front
}

enlarger() { compose exec -T scheduler enlarger "$@"; }
probe() { compose exec -T tester python3 /try/probe.py "$@"; }
submit() { # FOLDER
  enlarger submit s3://photos/in/ --to "s3://photos/$1/" --set scale=4 --no-reuse \
    --webhook http://tester:9000/hook
}
works_on() { enlarger results "$1" | grep '"state": *"running"'; }
has_ended() { enlarger status "$1" --json | grep '"state": *"finished"'; }

check_outcome() { # BATCH; prints how many images needed a further attempt
  local count again
  within 600 has_ended "$1"
  read -r count again < <(enlarger results "$1" | probe outcome)
  [ "$count" = 24 ] || fail "$count images instead of 24"
  echo "$again"
}

kill_a_worker_in_mid_job() {
  local batch again
  batch=$(submit killed)
  within 120 works_on "$batch"
  "$ENGINE" kill --signal KILL "$(container worker)" >/dev/null
  say "killed the worker in mid-job"
  compose start worker >/dev/null || true # docker has started it again by itself
  again=$(check_outcome "$batch")
  [ "$again" -gt 0 ] || fail "no job knows of the kill: it was not in mid-job"
  within 60 probe heard "$batch" batch.finished
  say "all 24 images are in the store, $again of them by a further attempt; the webhook came"
}

stop_a_worker_in_mid_job() {
  local batch began again
  batch=$(submit stopped)
  within 120 works_on "$batch"
  began=$SECONDS
  compose stop worker >/dev/null
  [ "$("$ENGINE" inspect --format '{{.State.ExitCode}}' "$(container worker)")" = 0 ] ||
    { show_logs; fail "the stopped worker did not end by itself"; }
  say "stopped the worker in mid-job; it drained in $((SECONDS - began)) s and ended with 0"
  compose start worker >/dev/null
  again=$(check_outcome "$batch")
  [ "$again" = 0 ] || fail "$again jobs count a failure, though their worker was only stopped"
  say "all 24 images are in the store, none of them with a failure"
}

call_fals_names() {
  local key
  key=$(enlarger keys create --owner try)
  compose exec -T front cat /data/caddy/pki/authorities/local/root.crt | probe front "$key"
  say "https://queue.fal.run, https://fal.run and https://v3.fal.media answer by TLS"
}

# Its root is read-only, and promtool wants to write.
try_alerts() {
  compose exec -T -e TMPDIR=/prometheus prometheus promtool test rules /etc/prometheus/rules_test.yml \
    >"$FOLDER/alerts.log" || { cat "$FOLDER/alerts.log"; fail "the alerts' tests"; }
}

ours() { # ps|volume ls; what there is of this trial, or of one that was killed
  "$ENGINE" "$@" --quiet --filter "label=com.docker.compose.project=$PROJECT"
}

take_down() {
  compose down --volumes --timeout 5 >/dev/null || true
  # Both engines leave something behind where a container was just starting again.
  ours ps --all | xargs --no-run-if-empty "$ENGINE" rm --force --volumes
  ours volume ls | xargs --no-run-if-empty "$ENGINE" volume rm --force
} >/dev/null 2>&1

leave() {
  take_down
  rm -rf "$FOLDER"
}

make_environment
take_down
trap leave EXIT
MONITORING=(prometheus)
if [ -n "${STAND_INS:-}" ] || ! timeout 120 "$ENGINE" pull --quiet "$PYTHON" >/dev/null 2>&1; then
  make_stand_ins
else
  MONITORING+=(grafana)
fi
make_ours
bring_up
say "up and healthy: postgres, redis, store, scheduler, sender, api, worker, front"
probe put
kill_a_worker_in_mid_job
stop_a_worker_in_mid_job
call_fals_names
within 60 probe scraped
try_alerts
say "Prometheus reads the API's figures, and its promtool passes the alerts' tests"
say "passed, with $ENGINE"
