#!/usr/bin/env bash
# Packs the release binaries that are built into a Debian package: package.sh [FOLDER].
. "$(dirname "${BASH_SOURCE[0]}")/../local/lib.sh"
need_rust
cd "$root"
if ! cargo deb --version >/dev/null 2>&1; then
  step "installing cargo-deb (takes minutes)"
  cargo install --quiet --locked cargo-deb
fi
folder=${1:-"$(target_directory)/debian"}
step "packing"
cargo deb --quiet --no-build -p tercet-node --output "$folder/"
say "$folder: $(ls -t "$folder" | head -n 1)"
