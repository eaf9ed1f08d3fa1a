#!/usr/bin/env bash
# Makes the runtime base image with debootstrap, for machines without a registry: base-image.sh [NAME] (tercet-base:12).
. "$(dirname "${BASH_SOURCE[0]}")/local/lib.sh"
name=${1:-tercet-base:12}
suite=bookworm
# Where this machine has its own packages of that suite from.
own_mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
  awk -v suite="$suite" '$1 == suite { print $2; exit }')
mirror=${DEBIAN_MIRROR:-$own_mirror}
[ -n "$mirror" ] || die "apt knows no mirror of $suite: name one, DEBIAN_MIRROR=http://... $0"
# RocksDB is the one library that the binaries do not carry with them.
packages=librocksdb7.8,ca-certificates

"$root/deploy/local/packages.sh" image
folder=$(mktemp -d)
trap 'as_root rm -rf "$folder"' EXIT
step "debootstrap $suite with $packages"
if ! as_root debootstrap --variant=minbase --include="$packages" "$suite" "$folder/root" "$mirror" >"$folder/log" 2>&1; then
  tail -n 20 "$folder/log" >&2
  die "debootstrap failed"
fi
step "docker import as $name"
# Without what nothing in it reads: documentation, translations, tables of other character sets, time zones (all times are UTC).
as_root tar -C "$folder/root" --exclude='./var/cache/*' --exclude=./var/lib/apt/lists --exclude=./usr/share/doc \
  --exclude=./usr/share/man --exclude=./usr/share/locale --exclude='./usr/lib/*/gconv' --exclude=./usr/share/zoneinfo --exclude=./proc --exclude=./sys --exclude=./dev -c . |
  docker import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$name" >/dev/null
say "$name is ready"
