#!/usr/bin/env bash
# make test: sets up, then runs every test. The processes that it starts live on ports and in folders of their own, but
# for the seed programs, which name the default ports.
. "$(dirname "${BASH_SOURCE[0]}")/../deploy/local/lib.sh"
cd "$root"
need_rust
rounds=${DRILL_ROUNDS:-3}
SKIPPED_LOG=$(mktemp)
export SKIPPED_LOG
trap 'rm -f "$SKIPPED_LOG"' EXIT

deploy/local/packages.sh build test
deploy/local/build.sh release --workspace --bins
chaos-tests/clients/venv.sh

step "unit and integration tests"
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --locked
else
  say "(with cargo test: cargo nextest is not installed)"
  cargo test --workspace --locked --quiet --bins --lib --tests
fi
step "doc tests"
cargo test --workspace --locked --quiet --doc

step "client libraries, the seed programs and bad input"
.venv/bin/python -m pytest chaos-tests/clients -q -ra --no-header -p no:cacheprovider

step "the drill, $rounds rounds"
"$(target_directory)/release/drill" --rounds "$rounds"

if [ -s "$SKIPPED_LOG" ]; then
  printf '\n!!!!!!!!!! passed, but these did not run:\n' >&2
  sed 's/^/!!!!!!!!!!   /' "$SKIPPED_LOG" >&2
else
  say "test: all passed"
fi
