#!/usr/bin/env bash
# Installs the Debian packages of the given groups that are missing: build, try, bench, test, drill, image, browser, clients-*.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

packages_of() {
  case "$1" in
    # The system's RocksDB; clang and libclang because its header is read at build time; a C++ compiler to link it.
    build) say librocksdb-dev libclang-dev clang g++ make pkg-config ;;
    try) say redis-tools ;;
    bench) say redis-server redis-tools ;;
    test)
      say redis-server redis-tools python3 python3-venv iproute2 util-linux
      # Another kubectl will do as well.
      command -v kubectl >/dev/null || say kubernetes-client
      ;;
    # Namespaces, bridges and filters; file systems in files, which can be full; wall clocks that can be set.
    drill) say iproute2 nftables util-linux e2fsprogs libfaketime ;;
    # A real browser for the page, promtool for the metrics, other people's checks of a RabbitMQ, a Debian to install the
    # package in: their tests are skipped without.
    browser) say chromium chromium-driver prometheus nagios-plugins-rabbitmq debootstrap ;;
    # Client libraries for programs of `make clients`, a group for each language: those of one that cannot be installed are skipped.
    clients-c) say gcc libc6-dev libhiredis-dev librabbitmq-dev ;;
    clients-shell) say amqp-tools ;;
    clients-php) say php-cli php-redis php-amqplib ;;
    clients-ruby) say ruby ruby-redis ruby-bunny ;;
    clients-node) say nodejs node-redis ;;
    clients-go) say golang-go golang-github-gomodule-redigo-dev golang-github-rabbitmq-amqp091-go-dev ;;
    clients-metrics) say prometheus-redis-exporter redis-server ;;
    image) say debootstrap docker.io docker-compose ;;
    *) die "no group of packages is called '$1'" ;;
  esac
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

command -v dpkg-query >/dev/null || { skipped "installing packages: this is no Debian; needed are: $(for group in "$@"; do packages_of "$group"; done | tr '\n' ' ')"; exit 0; }

missing=()
for group in "$@"; do
  for package in $(packages_of "$group"); do
    is_installed "$package" || missing+=("$package")
  done
done
[ ${#missing[@]} -gt 0 ] || exit 0

step "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! install >"$log" 2>&1; then
  # The lists may be missing or old.
  as_root apt-get update -q >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "apt-get update failed"; }
  install >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "apt-get could not install: ${missing[*]}"; }
fi

# Debian starts a redis-server as it installs one; it would sit on the port of our first node.
case " ${missing[*]} " in
  *" redis-server "*)
    if [ -d /run/systemd/system ]; then as_root systemctl disable --now redis-server >/dev/null 2>&1 || true; fi ;;
esac
