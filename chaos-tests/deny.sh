#!/usr/bin/env bash
# Licences, sources and advisories of the dependencies, with cargo-deny; built once into the cache (two minutes on two cores).
. "$(dirname "${BASH_SOURCE[0]}")/../deploy/local/lib.sh"
cd "$root"
need_rust
version=0.20.2
cache="${HOME}/.cache/tercet"

find_deny() {
  if [ -x "$cache/bin/cargo-deny" ]; then say "$cache/bin/cargo-deny"; else command -v cargo-deny; fi
}

if ! deny=$(find_deny); then
  step "building cargo-deny $version into $cache/bin (two minutes, once)"
  if ! CARGO_TARGET_DIR="$cache/deny-target" cargo install --quiet --locked --version "$version" --root "$cache" cargo-deny; then
    skipped "cargo deny: it could not be built"
    exit 0
  fi
  rm -rf "$cache/deny-target"
  deny=$(find_deny)
fi

step "cargo deny: licences, sources, bans"
"$deny" --log-level error --all-features check licenses sources bans
# The advisory database comes over the network; its absence is no fault of the change.
step "cargo deny: advisories"
if ! output=$("$deny" --all-features check advisories 2>&1); then
  case "$output" in
    *"failed to fetch"* | *"failed to acquire"* | *"unable to fetch"*) skipped "cargo deny advisories: the database could not be fetched" ;;
    *) printf '%s\n' "$output" >&2; exit 1 ;;
  esac
fi
