#!/usr/bin/env bash
# build.sh PROFILE ARGUMENTS...: cargo build, with the few lines that matter.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_rust
cd "$root"
profile=$1
shift
step "building ($profile; the first time takes minutes)"
cargo build --locked --quiet --profile "$profile" "$@"
