#!/usr/bin/env bash
# Starts what is not running of three nodes and three sentinels on loopback, waits until they are healthy, says what to try.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

binaries="$(target_directory)/release"
wait_seconds=${WAIT_SECONDS:-60}
sentinels=127.0.0.1:27379,127.0.0.1:27380,127.0.0.1:27381
nodes=127.0.0.1:7379,127.0.0.1:7380,127.0.0.1:7381

main() {
  mkdir -p "$run_folder"
  choose_password
  choose_token
  if [ -z "$(running_names)" ]; then
    check_ports
    forget_logs
  fi
  start_missing
  wait_until_healthy
  banner
}

running_names() {
  local name
  for name in n1 n2 n3 s1 s2 s3; do running "$name" >/dev/null && say "$name"; done || true
}

# A cluster that runs keeps the password that it was started with.
choose_password() {
  local kept
  kept=$(cat "$run_folder/password" 2>/dev/null || true)
  if [ -n "$(running_names)" ]; then
    if [ -n "${PASSWORD:-}" ] && [ "$PASSWORD" != "$kept" ]; then
      die "a cluster with another password is running: make down first"
    fi
    PASSWORD=$kept
  else
    (umask 077 && printf '%s' "${PASSWORD:-}" >"$run_folder/password")
  fi
}

# The secret by which the six know each other; a new one for each new cluster.
choose_token() {
  if [ -n "$(running_names)" ] && [ -s "$run_folder/token" ]; then return; fi
  if [ -n "$(running_names)" ]; then die "a cluster without a token is running: make down first"; fi
  (umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$run_folder/token")
}

check_ports() {
  local name kind ports port taken=''
  while read -r name kind ports; do
    for port in $ports; do
      if [ -n "$(listener "$port")" ]; then
        printf 'error: port %s, which %s needs, is taken by %s\n' "$port" "$name" "$(port_owner "$port")" >&2
        taken=yes
      fi
    done
  done < <(cluster_table)
  [ -z "$taken" ] || die "stop what holds the ports above, then run make up again"
}

# The data stays: the cluster goes on where it was stopped.
forget_logs() {
  local name
  for name in n1 n2 n3 s1 s2 s3; do rm -f "$run_folder/$name.log" "$run_folder/$name.pid"; done
}

start_missing() {
  local name kind a b c d e f
  while read -r name kind a b c d e f; do
    if running "$name" >/dev/null; then continue; fi
    mkdir -p "$run_folder/$name"
    if [ "$kind" = sentinel ]; then
      launch "$name" "$binaries/tercet-sentinel" --name "$name" --data "$run_folder/$name" --bind 127.0.0.1 \
        --resp-port "$a" --peer-port "$b" --metrics-port "$c" --sentinels "$sentinels" --nodes "$nodes" --service mymaster
    else
      launch "$name" "$binaries/tercet-node" --name "$name" --data "$run_folder/$name" --bind 127.0.0.1 \
        --resp-port "$a" --amqp-port "$b" --gateway-port "$c" --http-port "$d" --metrics-port "$e" --peer-port "$f" \
        --sentinels "$sentinels"
    fi
  done < <(cluster_table)
}

# The password goes through the environment: a command line can be read by every user.
launch() {
  local name=$1
  shift
  [ -x "$1" ] || die "$1 is not built: run make up, which builds it"
  (
    if [ -n "${PASSWORD:-}" ]; then export TERCET_REQUIREPASS=$PASSWORD; fi
    export TERCET_CLUSTER_TOKEN_FILE="$run_folder/token"
    cd "$run_folder"
    exec setsid "$@" >>"$run_folder/$name.log" 2>&1 </dev/null
  ) &
  say $! >"$run_folder/$name.pid"
}

wait_until_healthy() {
  local deadline=$((SECONDS + wait_seconds)) missing name
  while missing=$(unhealthy || true) && [ -n "$missing" ]; do
    for name in n1 n2 n3 s1 s2 s3; do
      running "$name" >/dev/null || { tail -n 5 "$run_folder/$name.log" >&2; die "$name has ended; its log: $run_folder/$name.log"; }
    done
    [ $SECONDS -lt $deadline ] || die "not healthy after $wait_seconds s: $missing; logs: $run_folder/*.log"
    sleep 0.2
  done
}

# What is still missing, in words; nothing when all is well. Leaves nothing behind: it runs in a subshell.
unhealthy() {
  local port master='' role port_seen
  for port in 6379 6380 6381; do
    role=$(info_field "$port" role)
    if [ "$role" = master ]; then
      [ -z "$master" ] || { say "two nodes say that they are master"; return; }
      master=$port
    fi
  done
  [ -n "$master" ] || { say "no node is master"; return; }
  [ "$(info_field "$master" tercet_isr)" = 3 ] || { say "the master has fewer than two replicas in sync"; return; }
  for port in 6379 6380 6381; do
    [ "$port" = "$master" ] || [ "$(info_field "$port" master_link_status)" = up ] || { say "the replica on $port is not in sync"; return; }
  done
  for port in 26379 26380 26381; do
    port_seen=$(sentinel_master "$port")
    [ "$port_seen" = "$master" ] || { say "the sentinel on $port does not name $master as master"; return; }
    ask "$port" "SENTINEL CKQUORUM mymaster" | grep -q '^+OK 3' || { say "the sentinel on $port does not see all three"; return; }
  done
}

master_port() { sentinel_master 26379; }

# row LABEL FIRST_PORT: three ports of the nodes, if somebody listens there.
row() {
  if [ -n "$(listener "$2")" ]; then printf '  %-8s %6d %6d %6d' "$1" "$2" "$(($2 + 1))" "$(($2 + 2))"; fi
}

banner() {
  local port name='' n cli state='none: loopback only'
  port=$(master_port)
  n=$((port - 6379 + 1))
  name="n$n"
  cli="redis-cli -p $port"
  if [ -n "${PASSWORD:-}" ]; then
    cli="redis-cli -a PASSWORD -p $port"
    state="set, kept in $run_folder/password (user guest on AMQP has the same)"
  fi
  cat <<EOF

Tercet is up. Master: $name (127.0.0.1:$port)
               n1     n2     n3                 s1     s2     s3
$(row RESP 6379)    sentinel  26379  26380  26381
$({ row AMQP 5672; echo; row gateway 50051; echo; row page 15672; echo; row metrics 15692; } | grep .)
  password  $state
  folder    $run_folder (a log, a pid file and a data folder each)

Try:    $cli set hello world
        redis-cli -p 26379 sentinel masters
Break:  redis-cli -p 26379 subscribe +switch-master     (in another terminal, to watch)
        kill -9 \$(cat $run_folder/$name.pid)            (the master dies; another takes over in under a second)
        make up                                         (brings it back, as a replica)
Stop:   make down                                       (the data stays for the next make up; rm -r the folder to begin anew)
EOF
}

main
