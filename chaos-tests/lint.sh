#!/usr/bin/env bash
# make lint: formatting, clippy, what no file may hold, licences and sources of the dependencies.
. "$(dirname "${BASH_SOURCE[0]}")/../deploy/local/lib.sh"
cd "$root"
need_rust
deploy/local/packages.sh build

for component in rustfmt clippy; do
  case "$component" in rustfmt) command=fmt ;; *) command=clippy ;; esac
  if ! cargo "$command" --version >/dev/null 2>&1; then
    step "installing $component"
    rustup component add "$component" || die "cargo $command is missing and rustup could not add $component"
  fi
done

step "cargo fmt --check"
cargo fmt --all --check

step "cargo clippy, every target, warnings are errors"
cargo clippy --workspace --all-targets --locked --quiet -- -D warnings

step "shell scripts parse"
git ls-files '*.sh' .ci/run | xargs -r -n 1 bash -n

step "what no file may hold, and who may use whom"
cargo test --quiet --locked --workspace --test tidy

chaos-tests/deny.sh
say "lint: all passed"
