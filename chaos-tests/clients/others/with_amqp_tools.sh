#!/usr/bin/env bash
# The command line tools of librabbitmq. They know no confirms: a message counts when amqp-publish, which closes its
# connection in order after publishing, has succeeded. The contract is in test_others.py.
set -uo pipefail
queue=amqp-tools-$$
read -r -a brokers <<<"$BROKERS"
broker=0

fail() { printf 'failed: %s\n' "$*" >&2; exit 1; }

# on_some TOOL ARGUMENTS...: on the node that did it last, else on the next ones.
on_some() {
  local tool=$1 deadline=$((SECONDS + 60))
  shift
  while ! timeout 10 "$tool" --server "${brokers[broker]%:*}" --port "${brokers[broker]#*:}" "$@" 2>>errors; do
    [ "$SECONDS" -lt "$deadline" ] || fail "$tool $*: $(tail -n 3 errors)"
    broker=$(((broker + 1) % ${#brokers[@]}))
    reconnects=$((reconnects + 1))
    sleep 0.05
  done
}

# Takes every message, acknowledged one by one, and writes each number on a line.
drain() { on_some amqp-consume --queue "$queue" --count "$1" --prefetch-count 50 -- sh -c 'cat; echo'; }

reconnects=0
declared=$(on_some amqp-declare-queue --queue "$queue" --durable)
[ "$declared" = "$queue" ] || fail "amqp-declare-queue said: $declared"
for number in 1 2 3 4 5 6 7 8 9; do on_some amqp-publish --routing-key "$queue" --persistent --body "$number"; done
[ "$(drain 8 | tr '\n' ' ')" = "1 2 3 4 5 6 7 8 " ] || fail "amqp-consume"
[ "$(on_some amqp-get --queue "$queue")" = 9 ] || fail "amqp-get"
timeout 10 amqp-get --server "${brokers[broker]%:*}" --port "${brokers[broker]#*:}" --queue "$queue" && fail "amqp-get of an empty queue"
echo "basics hold"

confirmed=0
reconnects=0
until [ -e "$STOP" ]; do
  on_some amqp-publish --routing-key "$queue" --persistent --body "$confirmed"
  confirmed=$((confirmed + 1))
  [ $((confirmed % 50)) != 0 ] || echo "at $confirmed"
done
drain "$confirmed" >numbers
# One that was published twice, for its first attempt was not answered, leaves others in the queue.
while got=$(timeout 10 amqp-get --server "${brokers[broker]%:*}" --port "${brokers[broker]#*:}" --queue "$queue"); do echo "$got" >>numbers; done
lost=$((confirmed - $(sort -u numbers | wc -l)))
on_some amqp-delete-queue --queue "$queue" >/dev/null
echo "confirmed $confirmed lost $lost reconnects $reconnects"
