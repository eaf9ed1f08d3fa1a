#!/usr/bin/env bash
# Stops the local cluster by the pids that its folder records: asks, waits a bounded time, then kills.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
limit_seconds=15

pids=()
# Sentinels first, so that nobody promotes a node while the nodes go.
for name in s1 s2 s3 n1 n2 n3; do
  if pid=$(running "$name"); then
    kill -TERM "$pid" 2>/dev/null || true
    pids+=("$name:$pid")
  fi
done
[ ${#pids[@]} -gt 0 ] || say "nothing was running"

deadline=$((SECONDS + limit_seconds))
for entry in "${pids[@]}"; do
  name=${entry%%:*}
  pid=${entry##*:}
  while running "$name" >/dev/null && [ $SECONDS -lt $deadline ]; do sleep 0.1; done
  if running "$name" >/dev/null; then
    say "$name (pid $pid) did not end in $limit_seconds s: killed"
    kill -KILL "$pid" 2>/dev/null || true
  fi
done
rm -f "$run_folder"/*.pid
[ ${#pids[@]} -eq 0 ] || say "stopped: ${pids[*]%%:*}; logs stay in $run_folder"
