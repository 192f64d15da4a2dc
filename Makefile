# ForgeKV: `make run` starts a server, `make test` runs everything that CI runs.
# Both set up what they need on a Debian machine with a Rust toolchain.

SHELL := /bin/bash
.PHONY: run build test quick lint unit compat proofs soak bench docker-test setup setup-test clean

run: build
	mkdir -p data
	./target/release/forgekv forgekv.conf

build: setup
	cargo build --release --locked -p forgekv

# A C compiler for jemalloc, zstd and the long-double shim.
setup:
	@command -v cc >/dev/null && command -v make >/dev/null || scripts/install.sh build-essential

test: quick compat proofs docker-test

quick: lint unit

lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --lib --bins --locked -- -D warnings
	cargo clippy --workspace --tests --locked -- -D warnings -A clippy::unwrap_used -A clippy::expect_used

unit: setup
	cargo test --workspace --locked

# Against a real redis-server and with real clients; what can't be had is skipped, loudly.
compat: build
	compat-tests/run.sh

# What can be shown in a few minutes; what this machine can't do is skipped, loudly.
proofs: build
	compat-tests/proofs/run.sh --quick startup full_disk always_sync

soak: build
	compat-tests/soak.sh

bench: build
	benchmark/run.sh

docker-test: build
	FORGEKV_BINARY=target/release/forgekv docker/test.sh

clean:
	cargo clean
