# Shell functions of the local scripts; sourced, not run.
# shellcheck shell=bash
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

say() { printf '%s\n' "$*"; }
step() { printf -- '--- %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# A check that did not run must be seen by whoever reads only the end of the output.
skipped() {
  printf '\n!!!!!!!!!! SKIPPED: %s\n\n' "$*" >&2
  if [ -n "${SKIPPED_LOG:-}" ]; then printf '%s\n' "$*" >>"$SKIPPED_LOG"; fi
}

# Runs a command as root.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    die "this needs root: $* (install sudo, or run it as root yourself)"
  fi
}

# own_network COMMAND...: with no loopback but its own, as far as we may. The gateway's default ports are in the range from
# which the kernel gives ports to outgoing connections; in this network it does not.
own_network() {
  if [ "$(id -u)" = 0 ] && unshare --net ip link set lo up 2>/dev/null; then
    unshare --net sh -c 'ip link set lo up && echo 32768 49999 >/proc/sys/net/ipv4/ip_local_port_range && exec "$@"' sh "$@"
  else
    say "(without a network of its own: that needs root, unshare and ip)"
    "$@"
  fi
}

need_rust() {
  command -v cargo >/dev/null || die "Rust is missing: install it from https://rustup.rs (1.95 or newer) and run this again"
}

# The target directory that cargo uses: CARGO_TARGET_DIR, the configuration, or target/.
target_directory() {
  if [ -n "${CARGO_TARGET_DIR:-}" ]; then
    case "$CARGO_TARGET_DIR" in /*) say "$CARGO_TARGET_DIR" ;; *) say "$PWD/$CARGO_TARGET_DIR" ;; esac
  else
    (cd "$root" && cargo metadata --format-version 1 --no-deps --offline 2>/dev/null || cargo metadata --format-version 1 --no-deps) |
      sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
  fi
}

# --- a RESP client of a few lines, so that nothing needs to be installed to see whether a cluster is healthy

# ask PORT COMMAND...: what the server answers to the (inline) commands, as raw lines without CR.
ask() {
  local port=$1 command answer=''
  shift
  {
    exec 3<>"/dev/tcp/127.0.0.1/$port" || return 1
    for command in "$@"; do printf '%s\r\n' "$command" >&3; done
    printf 'QUIT\r\n' >&3
    answer=$(timeout 2 cat <&3 | tr -d '\r' || true)
    exec 3>&-
  } 2>/dev/null
  printf '%s\n' "$answer"
}

# info_field PORT FIELD: one field of INFO replication of a node.
info_field() {
  local -a commands=()
  local quoted=${PASSWORD:-}
  quoted=${quoted//\\/\\\\}
  if [ -n "$quoted" ]; then commands+=("AUTH \"${quoted//\"/\\\"}\""); fi
  ask "$1" "${commands[@]}" "INFO replication" | sed -n "s/^$2://p" | head -n 1
}

# sentinel_master PORT: the port of the master in a sentinel's view.
sentinel_master() {
  ask "$1" "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster" | awk '/^\*2/ { found = 1 } found && /^[0-9]+$/ { print; exit }'
}

# --- ports

# listener PORT: the socket inode that listens on a port, if any.
listener() {
  local hex
  printf -v hex '%04X' "$1"
  awk -v port=":$hex" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# port_owner PORT: "name (pid N)" of who listens there, as far as we may look.
port_owner() {
  local inode file pid
  inode=$(listener "$1")
  for file in /proc/[0-9]*/fd/*; do
    if [ "$(readlink "$file" 2>/dev/null)" = "socket:[$inode]" ]; then
      pid=${file#/proc/}
      pid=${pid%%/*}
      say "$(cat "/proc/$pid/comm") (pid $pid)"
      return
    fi
  done
  say "another user's process"
}

# --- the local cluster: where it lives and what it listens on

run_folder="${RUN_DIR:-$root/.run}"

# Name, kind and ports of every process: those of README.md, then +1 and +2.
cluster_table() {
  local n
  for n in 0 1 2; do
    say "n$((n + 1)) node $((6379 + n)) $((5672 + n)) $((50051 + n)) $((15672 + n)) $((15692 + n)) $((7379 + n))"
  done
  for n in 0 1 2; do
    say "s$((n + 1)) sentinel $((26379 + n)) $((27379 + n)) $((28379 + n))"
  done
}

# running NAME: the pid of a process of the cluster, if its pid file names one that is really ours.
running() {
  local pid exe
  pid=$(cat "$run_folder/$1.pid" 2>/dev/null) || return 1
  exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 1
  case "${exe##*/}" in tercet-*) say "$pid" ;; *) return 1 ;; esac
}
