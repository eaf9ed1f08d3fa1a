#!/usr/bin/env bash
# make clients: programs with other people's client libraries, through failovers; see others/test_others.py. Those whose
# packages cannot be installed are skipped, and named at the end.
. "$(dirname "${BASH_SOURCE[0]}")/../../deploy/local/lib.sh"
cd "$root"
SKIPPED_LOG=$(mktemp)
export SKIPPED_LOG
trap 'rm -f "$SKIPPED_LOG"' EXIT

for group in c shell php ruby node go metrics; do
  deploy/local/packages.sh "clients-$group" || skipped "the programs that need the packages clients-$group: they cannot be installed"
done
VENV=.venv-clients REQUIREMENTS=chaos-tests/clients/others/requirements.txt MODULES="pytest, redis, pika, celery, rq, aio_pika, django_redis" chaos-tests/clients/venv.sh

# Programs that somebody has built already may be named.
if [ -z "${TERCET_NODE_BINARY:-}" ] || [ -z "${TERCET_SENTINEL_BINARY:-}" ]; then
  need_rust
  deploy/local/packages.sh build test
  step "building the programs (the first time takes minutes)"
  cargo build --locked --quiet -p tercet-node -p tercet-sentinel
  programs="$(target_directory)/debug"
  export TERCET_NODE_BINARY="$programs/tercet-node" TERCET_SENTINEL_BINARY="$programs/tercet-sentinel"
fi

step "client libraries, through failovers"
own_network timeout --foreground --kill-after=15 2400 .venv-clients/bin/python -m pytest chaos-tests/clients/others -q -ra --no-header -p no:cacheprovider "$@" || die "programs failed, or were not over after 2400 s"
if [ -s "$SKIPPED_LOG" ]; then
  printf '\n!!!!!!!!!! passed, but these did not run:\n' >&2
  sed 's/^/!!!!!!!!!!   /' "$SKIPPED_LOG" >&2
else
  say "clients: all passed"
fi
