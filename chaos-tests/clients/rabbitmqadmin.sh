#!/usr/bin/env bash
# Puts RabbitMQ's rabbitmqadmin into .venv/bin, out of Debian's package rabbitmq-server: the script alone, without the server and
# Erlang. Nothing is done where the package is installed, or the script is there already.
. "$(dirname "${BASH_SOURCE[0]}")/../../deploy/local/lib.sh"
cd "$root"
target=${VENV:-.venv}/bin/rabbitmqadmin
if [ -x "$target" ] || compgen -G '/usr/lib/rabbitmq/lib/*/plugins/rabbitmq_management-*/priv/www/cli/rabbitmqadmin' >/dev/null; then exit 0; fi
command -v dpkg-deb >/dev/null || die "this is no Debian"

step "rabbitmqadmin into .venv"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
download() { (cd "$folder" && apt-get download -q rabbitmq-server >log.txt 2>&1); }
# The lists may be missing or old.
download || { as_root apt-get update -q >"$folder/log.txt" 2>&1 && download; } || { tail -n 5 "$folder/log.txt" >&2; die "apt-get cannot download rabbitmq-server"; }
dpkg-deb --fsys-tarfile "$folder"/rabbitmq-server_*.deb | tar -x -C "$folder" --wildcards '*/priv/www/cli/rabbitmqadmin'
install -m 755 "$(find "$folder" -name rabbitmqadmin -type f | head -n 1)" "$target"
