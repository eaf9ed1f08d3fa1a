#!/usr/bin/env bash
# make test: sets up, then runs every test, each part within a bound. Everything is built once, in the dev profile that
# `make lint` and every developer use: optimized builds are for `make up`, `make drill` and `make bench`, which measure.
# The processes that it starts live on ports and in folders of their own, but for the programs of users, which name the
# default ports: the client tests get a network of their own, where nobody else can have them.
. "$(dirname "${BASH_SOURCE[0]}")/../deploy/local/lib.sh"
cd "$root"
need_rust
rounds=${DRILL_ROUNDS:-21}
faults=kill,pause,isolate,sentinels-cut,one-way-out,master-and-sentinel,one-way-in,replicas-cut,restart-all,hand-over,slow-link,full-disk,slow-disk,clock-skew,clients-cut,wedged-thread,
faults+=publisher-flood,slow-disk-flood,large-queue,descriptor-storm,forged-peer
SKIPPED_LOG=$(mktemp)
export SKIPPED_LOG
trap 'rm -f "$SKIPPED_LOG"' EXIT

# bounded SECONDS COMMAND...: a part that hangs is a failure with a name. In the foreground, so that Ctrl-C reaches it;
# what it has started dies with its parent.
bounded() {
  local seconds=$1 status=0
  shift
  timeout --foreground --kill-after=15 "$seconds" "$@" || status=$?
  [ "$status" != 124 ] || die "not over after $seconds s: $*"
  return "$status"
}

deploy/local/packages.sh build test drill
deploy/local/packages.sh browser || echo "the page in a browser, promtool, checks of nagios, the Debian package: what they need cannot be installed" >>"$SKIPPED_LOG"
chaos-tests/clients/venv.sh
chaos-tests/clients/rabbitmqadmin.sh || echo "rabbitmqadmin: Debian's package of it cannot be downloaded" >>"$SKIPPED_LOG"

step "building the tests and the programs (the first time takes minutes)"
cargo test --workspace --locked --quiet --no-run
programs="$(target_directory)/debug"
export TERCET_NODE_BINARY="$programs/tercet-node" TERCET_SENTINEL_BINARY="$programs/tercet-sentinel"

step "unit and integration tests"
if cargo nextest --version >/dev/null 2>&1; then
  bounded 900 cargo nextest run --workspace --locked
else
  say "(with cargo test: cargo nextest is not installed)"
  bounded 900 cargo test --workspace --locked --quiet --bins --lib --tests
fi
step "doc tests"
bounded 300 cargo test --workspace --locked --quiet --doc

step "client libraries, programs of users and bad input"
elsewhere=(--ignore chaos-tests/clients/test_compose.py --ignore chaos-tests/clients/test_debian_package.py --ignore chaos-tests/clients/others)
clients=(.venv/bin/python -m pytest chaos-tests/clients "${elsewhere[@]}" -q -ra --no-header -p no:cacheprovider)
own_network timeout --foreground --kill-after=15 1500 "${clients[@]}" || die "the client tests failed, or were not over after 1500 s"

# Debian's mirror is not to be reached from a network of their own; what runs in that Debian gets one from the tests.
step "the Debian package, installed in a Debian of its own, with systemd"
bounded 700 .venv/bin/python -m pytest chaos-tests/clients/test_debian_package.py -q -ra --no-header -p no:cacheprovider

# The ports that the file publishes are those of the machine itself: not in a network of their own.
step "docker-compose: containers killed, stopped, cut off, restarted"
if ! docker info >/dev/null 2>&1; then
  skipped "the drills on docker-compose: no Docker engine answers"
elif ! { deploy/local/packages.sh image && CARGO_TARGET_DIR="$(target_directory)" PROFILE=debug deploy/image.sh tercet:test; }; then
  skipped "the drills on docker-compose: no image could be made"
else
  TERCET_COMPOSE=1 bounded 600 .venv/bin/python -m pytest chaos-tests/clients/test_compose.py -q -ra --no-header -p no:cacheprovider
fi

step "drills, $rounds rounds"
bounded 600 "$programs/drill" --rounds "$rounds" --fault "$faults"

if [ -s "$SKIPPED_LOG" ]; then
  printf '\n!!!!!!!!!! passed, but these did not run:\n' >&2
  sed 's/^/!!!!!!!!!!   /' "$SKIPPED_LOG" >&2
else
  say "test: all passed"
fi
