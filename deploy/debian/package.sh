#!/usr/bin/env bash
# Packs binaries that are built into a Debian package: package.sh [FOLDER]. PROFILE names another build than release, as the
# tests do; VERSION another version than that of Cargo.toml.
. "$(dirname "${BASH_SOURCE[0]}")/../local/lib.sh"
command -v dpkg-deb >/dev/null || die "dpkg-deb is missing: this is no Debian"
binaries="$(target_directory)/${PROFILE:-release}"
folder=${1:-"$(target_directory)/debian"}
here="$root/deploy/debian"
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)}
architecture=$(dpkg --print-architecture)

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
install -d "$tree"/DEBIAN "$tree"/etc/tercet "$tree"/usr/bin "$tree"/usr/lib/systemd/system "$tree"/usr/share/doc/tercet/examples
for program in tercet-node tercet-sentinel; do
  [ -x "$binaries/$program" ] || die "$binaries/$program is not built: make build"
  strip --strip-debug -o "$tree/usr/bin/$program" "$binaries/$program"
  chmod 755 "$tree/usr/bin/$program"
  install -m 644 "$here/$program.service" "$tree/usr/lib/systemd/system/"
done
install -m 640 "$here/node.toml" "$here/sentinel.toml" "$tree/etc/tercet/"
install -m 644 "$root/README.md" "$root/SECURITY.md" "$root/CHANGELOG.md" "$tree/usr/share/doc/tercet/"
install -m 644 "$root/LICENSE" "$tree/usr/share/doc/tercet/copyright"
install -m 644 "$root/deploy/prometheus/alerts.yml" "$tree/usr/share/doc/tercet/examples/"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$tree/DEBIAN/"
printf '/etc/tercet/node.toml\n/etc/tercet/sentinel.toml\n' >"$tree/DEBIAN/conffiles"

# The libraries that the programs are linked with, as packages of the machine that has built them.
libraries=$(ldd "$binaries/tercet-node" "$binaries/tercet-sentinel" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u)
packages=$(for library in $libraries; do
  for path in "$library" "$(readlink -f "$library")" "/usr$library"; do dpkg-query -S "$path" 2>/dev/null && break; done
done | sed 's/:.*//' | sort -u)
printf '%s\n' "$packages" | grep -q '^librocksdb' || die "cannot tell which package has librocksdb"
libc="libc6 (>= $(dpkg-query -W -f '${Version}' libc6 | sed 's/-.*//'))"
# What those libraries need themselves, they name themselves.
depends="adduser, $libc, $(printf '%s\n' "$packages" | grep -E '^(librocksdb|libstdc|libgcc)' | paste -sd, | sed 's/,/, /g')"

cat >"$tree/DEBIAN/control" <<CONTROL
Package: tercet
Version: $version
Architecture: $architecture
Maintainer: The authors of Tercet <tercet@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Depends: $depends
Section: database
Priority: optional
Description: replicated cache, message broker and stream gateway
 One node serves Redis clients, RabbitMQ clients (AMQP 0-9-1) and a gRPC stream
 gateway from one replicated state. Sentinels agree by Raft on who is master,
 and tell the clients.
CONTROL
(cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"

mkdir -p "$folder"
package="$folder/tercet_${version}_$architecture.deb"
step "packing"
dpkg-deb --root-owner-group -Z"${COMPRESS:-xz}" --build "$tree" "$package" >/dev/null
say "$package"
