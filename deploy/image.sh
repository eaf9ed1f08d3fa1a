#!/usr/bin/env bash
# Builds the container image from binaries that are there: image.sh [NAME] (tercet:dev). BASE names another base image,
# PROFILE another build than release: the tests pack what they have built.
. "$(dirname "${BASH_SOURCE[0]}")/local/lib.sh"
name=${1:-tercet:dev}
own_base=tercet-base:12
binaries="$(target_directory)/${PROFILE:-release}"

docker info >/dev/null 2>&1 || die "no Docker engine answers: start one (dockerd), or docker info says why not"
if [ -z "${BASE:-}" ]; then
  if docker image inspect "$own_base" >/dev/null 2>&1; then BASE=$own_base
  elif docker image inspect debian:12-slim >/dev/null 2>&1 || timeout 60 docker pull -q debian:12-slim >/dev/null 2>&1; then BASE=debian:12-slim
  else "$root/deploy/base-image.sh" "$own_base"; BASE=$own_base; fi
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
for program in tercet-node tercet-sentinel; do
  [ -x "$binaries/$program" ] || die "$program is not built: make build"
  # Line tables are for whoever profiles, not for the image.
  strip --strip-debug -o "$context/$program" "$binaries/$program"
done
cp "$root/LICENSE" "$root/deploy/Dockerfile" "$context/"
step "docker build $name on $BASE"
docker build --quiet --build-arg BASE="$BASE" --build-arg VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)" \
  --build-arg REVISION="$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)" -t "$name" "$context" >/dev/null
megabytes=$(($(docker image inspect -f '{{.Size}}' "$name") / 1000000))
say "$name is ready: $megabytes MB"
# What is asked of it; a build with debug checks is larger.
if [ "${PROFILE:-release}" = release ] && [ "$megabytes" -ge 120 ]; then die "$name is larger than 120 MB"; fi
