# The commands of Tercet. Each sets up what it needs; see README.md.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help up down build test clients lint deny drill sim bench bench-memory hit-ratio comeback image deb

ROUNDS ?= 200
FAULT ?= all
SEEDS ?= 100000
# More for the drill and the bench, e.g. `make bench ARGS='--quick --only GET'`.
ARGS ?=

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## three nodes and three sentinels on loopback (PASSWORD=... sets a password)
	@deploy/local/packages.sh build try
	@deploy/local/build.sh release -p tercet-node -p tercet-sentinel
	@deploy/local/up.sh

down: ## stop them
	@deploy/local/down.sh

build: ## the release build of everything
	@deploy/local/packages.sh build
	@deploy/local/build.sh release --workspace --bins

test: ## every test: units, doc tests, programs of users, bad input, client libraries, random input, the simulation, drills
	@chaos-tests/test.sh

clients: ## programs with client libraries of other languages and with frameworks (Celery, RQ, Django), through failovers
	@chaos-tests/clients/others.sh

lint: ## formatting, clippy, licences and sources
	@chaos-tests/lint.sh

deny: ## licences, sources and advisories of the dependencies
	@chaos-tests/deny.sh

drill: build ## faults under load and what must hold: each in turn (or FAULT=kill,pause,...), ROUNDS=200 in all
	@deploy/local/packages.sh drill
	@"$$(deploy/local/target.sh)/release/drill" --rounds $(ROUNDS) --fault $(FAULT) --times $(ARGS)

sim: build ## the rules of both crates under a seeded scheduler: SEEDS=1000000 for the night
	@"$$(deploy/local/target.sh)/release/sim" --seeds $(SEEDS) $(ARGS)

bench: build ## our node beside redis-server: requests a second and CPU a request
	@deploy/local/packages.sh bench
	@"$$(deploy/local/target.sh)/release/bench" $(ARGS)

bench-memory: build ## resident memory for keys of several shapes, beside redis-server
	@deploy/local/packages.sh bench
	@chaos-tests/memory/bench_memory.py "$$(deploy/local/target.sh)/release/tercet-node" $(ARGS)

hit-ratio: build ## hit ratios of the eviction policies, beside redis-server
	@deploy/local/packages.sh bench
	@chaos-tests/memory/hit_ratio.py "$$(deploy/local/target.sh)/release/tercet-node" $(ARGS)

comeback: build ## restart of a node with ten million keys, and a full sync of 2 GB under load
	@"$$(deploy/local/target.sh)/release/comeback" $(ARGS)

image: build ## the container image tercet:dev, on a base made by debootstrap if there is none
	@deploy/image.sh

deb: build ## a Debian package with both programs and their systemd units, in target/debian
	@deploy/debian/package.sh
