#!/usr/bin/env bash
# Proves the Docker image with a real engine: data outlives `docker kill`, `docker stop` is orderly,
# the health check turns healthy, the server is not root and needs no writable root file system.
#
#   docker/test.sh            the image by the Dockerfile where a registry can be reached; otherwise
#                             its runtime stage on a base made with debootstrap, around the binary
#                             that cargo built here
#   docker/test.sh --full     the whole Dockerfile in any case; without a registry the Rust image is
#                             made of the base, a C compiler and this machine's toolchain
#   FORGEKV_BINARY=path docker/test.sh    around this binary
#
# Where no engine runs, root gets one: Debian's docker.io, started by hand and stopped at the end.
# Only where that is impossible does it print SKIPPED and exit 0.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=target/docker
# The mirror that this system itself installs from.
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format "\$(SITE)" "Created-By: Packages" | head -n 1)}
name=forgekv-test-$$
image=$name
volume=$name
scratch=$(mktemp -d)
engine_pid=
passed=0
full=
[ "${1:-}" = --full ] && full=yes
mkdir -p "$cache"

# ---- Saying ----

ok() { passed=$((passed + 1)); echo "ok: $*"; }
fail() {
  echo "FAILED: $*" >&2
  docker logs "$name" 2>&1 | tail -20 >&2 || true
  exit 1
}
skip() { echo "SKIPPED: $*"; echo "docker: $passed passed, 0 failed, 1 skipped"; exit 0; }

finish() {
  local status=$?
  set +e
  exec 5>&- 2>/dev/null
  if docker info >/dev/null 2>&1; then
    docker rm -f "$name" >/dev/null 2>&1
    docker volume rm -f "$volume" >/dev/null 2>&1
    docker rmi -f "$image" "$image-runtime" "$image-rust" "$image-base" >/dev/null 2>&1
  fi
  stop_engine
  rm -rf "$scratch"
  exit "$status"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

# ---- An engine ----

network=bridge # or host, where this machine allows no bridges

stop_engine() {
  [ -n "$engine_pid" ] || return 0
  kill "$engine_pid" 2>/dev/null
  wait "$engine_pid" 2>/dev/null
  engine_pid=
  # Its mounts outlive it if it was killed; a directory with a mount in it is not removed.
  rm -rf --one-file-system "$scratch/engine" 2>/dev/null || true
}

# Starts dockerd with the storage driver $1 on a network of kind $2.
start_engine() {
  local at=$scratch/engine net=()
  mkdir -p "$at"
  [ "$2" = host ] && net=(--iptables=false --bridge=none)
  dockerd --host "unix://$at/sock" --data-root "$at/data" --exec-root "$at/exec" \
    --pidfile "$at/pid" --storage-driver "$1" "${net[@]}" >"$scratch/dockerd.log" 2>&1 &
  engine_pid=$!
  export DOCKER_HOST=unix://$at/sock
  for _ in $(seq 100); do
    docker info >/dev/null 2>&1 && return 0
    kill -0 "$engine_pid" 2>/dev/null || break
    sleep 0.2
  done
  stop_engine
  return 1
}

import_base() { docker import "$cache/base.tar" "$1" >/dev/null; }

# A container with a port, a volume and a limit can really be started.
can_run() {
  [ "$network" = host ] || set -- -p 127.0.0.1::6379
  docker run --rm --network "$network" "$@" -v "$volume:/probe" "$base" true >/dev/null 2>&1 &&
    docker volume rm -f "$volume" >/dev/null
}

have_registry() { timeout 120 docker pull debian:bookworm-slim >/dev/null 2>&1; }

# The base image, without a registry: Debian of this machine's release, so that a binary linked
# here finds the same C library there.
make_base() {
  [ -s "$cache/base.tar" ] && return 0
  [ "$(id -u)" -eq 0 ] || skip "no registry can be reached, and debootstrap needs root"
  scripts/install.sh debootstrap || skip "no registry can be reached, and no debootstrap to be had"
  local suite
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  debootstrap --variant=minbase "$suite" "$scratch/root" "$mirror" >"$scratch/debootstrap.log" 2>&1 || {
    tail -5 "$scratch/debootstrap.log"
    skip "no registry can be reached, and debootstrap failed"
  }
  rm -rf "$scratch"/root/var/cache/apt/* "$scratch"/root/var/lib/apt/lists/*
  tar --one-file-system -C "$scratch/root" -cf "$cache/base.tar.new" .
  mv "$cache/base.tar.new" "$cache/base.tar"
  rm -rf "$scratch/root"
}

find_engine() {
  if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    if have_registry; then
      registry=yes base=debian:bookworm-slim
    else
      registry= base=$image-base
      make_base
      import_base "$base"
    fi
    can_run || { network=host; can_run; } || fail "the running engine can't start a container"
    return
  fi
  [ "$(id -u)" -eq 0 ] || skip "no Docker engine runs, and only root can start one"
  command -v dockerd >/dev/null || scripts/install.sh docker.io ||
    skip "no Docker engine runs, and docker.io can't be installed"
  local storage kind
  for kind in bridge host; do
    for storage in overlay2 vfs; do
      start_engine "$storage" "$kind" || continue
      network=$kind
      if have_registry; then
        registry=yes base=debian:bookworm-slim
      else
        registry= base=$image-base
        make_base
        import_base "$base"
      fi
      can_run && { echo "engine: dockerd by hand, $storage, network $kind"; return; }
      stop_engine
    done
  done
  tail -5 "$scratch/dockerd.log"
  skip "this machine lets dockerd start no container"
}

# ---- Images ----

# A Rust image without a registry: the base, a C compiler and the toolchain that is here.
make_rust_image() {
  local root=$scratch/rust sysroot
  sysroot=$(rustc --print sysroot)
  mkdir -p "$root"
  tar -C "$root" -xf "$cache/base.tar"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  chroot "$root" apt-get update >/dev/null
  chroot "$root" apt-get install -y --no-install-recommends gcc libc6-dev make ca-certificates \
    >/dev/null 2>&1
  mkdir -p "$root/usr/local/rust"
  cp -a "$sysroot/bin" "$sysroot/lib" "$root/usr/local/rust/"
  rm -rf "$root/usr/local/rust/lib/rustlib/src"
  ln -s /usr/local/rust/bin/cargo /usr/local/rust/bin/rustc "$root/usr/local/bin/"
  # What this machine needs to reach the crate registry, a container needs too.
  local certificates=/usr/local/share/ca-certificates
  [ -d "$certificates" ] && cp -a "$certificates/." "$root$certificates/"
  chroot "$root" update-ca-certificates >/dev/null 2>&1
  tar --one-file-system -C "$root" -c . | docker import - "$1" >/dev/null
  rm -rf "$root"
}

build_image() {
  local proxies=() variable
  for variable in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!variable:-}" ] || proxies+=(--build-arg "$variable")
  done
  if [ -z "${FORGEKV_BINARY:-}" ] && [ -n "$registry$full" ]; then
    local rust=()
    if [ -z "$registry" ]; then
      make_rust_image "$image-rust"
      rust=(--build-arg "RUST_IMAGE=$image-rust")
    fi
    docker build --network host "${proxies[@]}" "${rust[@]}" --build-arg "BASE_IMAGE=$base" \
      -t "$image" -f docker/Dockerfile . >"$scratch/build.log" 2>&1 ||
      { tail -30 "$scratch/build.log" >&2; fail "docker build"; }
    ok "the whole Dockerfile builds"
    return
  fi
  local binary=${FORGEKV_BINARY:-}
  if [ -z "$binary" ]; then
    cargo build --release --locked -q -p forgekv
    binary=${CARGO_TARGET_DIR:-target}/release/forgekv
  fi
  docker build --network "$network" --build-arg "BASE_IMAGE=$base" --target runtime \
    -t "$image-runtime" -f docker/Dockerfile . >"$scratch/build.log" 2>&1 ||
    { tail -30 "$scratch/build.log" >&2; fail "docker build --target runtime"; }
  mkdir "$scratch/context"
  cp "$binary" "$scratch/context/forgekv"
  strip --strip-debug "$scratch/context/forgekv" 2>/dev/null || true
  printf 'FROM %s\nCOPY forgekv /usr/local/bin/forgekv\n' "$image-runtime" >"$scratch/context/Dockerfile"
  docker build --network "$network" -t "$image" "$scratch/context" >"$scratch/build.log" 2>&1 ||
    { tail -30 "$scratch/build.log" >&2; fail "docker build around the binary"; }
  ok "the runtime stage builds, with the binary that cargo made here"
}

# ---- A server and a client ----

# Starts the server on the volume; more options of `docker run` may follow.
start() {
  local publish=(-p 127.0.0.1::6379) flags=()
  if [ "$network" = host ]; then
    port=$((20000 + $$ % 20000))
    publish=(-e "FORGEKV_PORT=$port") flags=(--port "$port")
  fi
  docker run -d --name "$name" --network "$network" "${publish[@]}" -v "$volume:/data" \
    --health-interval 1s --read-only --cap-drop ALL --security-opt no-new-privileges \
    --memory 512m "$@" "$image" "${flags[@]}" >/dev/null || fail "docker run"
  if [ "$network" != host ]; then
    port=$(docker port "$name" 6379/tcp | head -1)
    port=${port##*:}
  fi
  for _ in $(seq 300); do
    [ "$(ask <<<PING 2>/dev/null | tr -d '\r\n')" = '+PONG' ] && return 0
    [ "$(docker inspect -f '{{.State.Running}}' "$name")" = true ] || break
    sleep 0.1
  done
  fail "the server does not answer PING"
}

# Sends the commands on standard input, one a line, prints the replies.
ask() {
  exec 5<>"/dev/tcp/127.0.0.1/$port" || return 1
  { cat; echo QUIT; } | sed 's/$/\r/' >&5
  sed '$d' <&5 # the +OK to QUIT
  exec 5>&-
}

# Prints the string at key $1.
value_of() { ask <<<"GET $1" | sed -n 2p | tr -d '\r'; }

# Writes $1<count> = value<count> one after the other until the connection breaks, and says how
# many were acknowledged.
write_until_broken() {
  local count=0 reply
  exec 6<>"/dev/tcp/127.0.0.1/$port"
  trap '' PIPE
  while printf 'SET %s%d value%d\r\n' "$1" "$count" "$count" 2>/dev/null >&6 &&
    IFS= read -r reply <&6 && [[ $reply == +OK* ]]; do
    count=$((count + 1))
    [ $((count % 50)) -ne 0 ] || echo "$count" >"$scratch/progress"
  done
  echo "$count" >"$scratch/acknowledged"
}

# Every acknowledged $1<count> has its value, after $2.
check_acknowledged() {
  local count expected
  count=$(cat "$scratch/acknowledged")
  [ "$count" -gt 100 ] || fail "only $count writes before the kill"
  expected=$(seq 0 $((count - 1)) | sed 's/^/value/' | sha256sum)
  [ "$(seq 0 $((count - 1)) | sed "s/^/GET $1/" | ask | tr -d '\r' | grep -v '^\$' | sha256sum)" = "$expected" ] ||
    fail "$2: acknowledged writes are missing"
  ok "$2: all $count acknowledged writes are there"
}

# ---- The proof ----

find_engine
for compose in "docker compose" docker-compose; do
  $compose version >/dev/null 2>&1 || continue
  $compose -f docker/compose.yaml config >/dev/null || fail "compose.yaml"
  ok "compose.yaml is valid"
  break
done
build_image
docker volume create "$volume" >/dev/null

start
for _ in $(seq 150); do
  health=$(docker inspect -f '{{.State.Health.Status}}' "$name")
  [ "$health" = healthy ] && break
  sleep 0.2
done
[ "$health" = healthy ] || fail "health is $health"
ok "the health check turns healthy"

[ "$(docker top "$name" -o pid,uid | awk 'NR == 2 { print $2 }')" = 999 ] || fail "the server runs as another user than 999"
ok "the server is not root; the root file system is read-only, all capabilities are dropped"

# These clients come from outside the container, where protected-mode would refuse them.
for round in 1 2 3; do
  rm -f "$scratch/progress" "$scratch/acknowledged"
  write_until_broken "round$round:" &
  writer=$!
  for _ in $(seq 100); do [ -s "$scratch/progress" ] && break; sleep 0.05; done
  sleep 1
  docker kill "$name" >/dev/null
  wait "$writer" || true
  docker rm "$name" >/dev/null
  start
  check_acknowledged "round$round:" "docker kill $round, a new container on the same volume"
done

ask <<<"SET after-stop yes" >/dev/null
began=$SECONDS
docker stop -t 30 "$name" >/dev/null
took=$((SECONDS - began))
code=$(docker inspect -f '{{.State.ExitCode}}' "$name")
[ "$code" = 0 ] && [ "$took" -lt 10 ] || fail "docker stop took $took s, exit code $code"
docker start "$name" >/dev/null
if [ "$network" != host ]; then
  port=$(docker port "$name" 6379/tcp | head -1)
  port=${port##*:}
fi
for _ in $(seq 100); do [ "$(value_of after-stop 2>/dev/null)" = yes ] && break; sleep 0.1; done
[ "$(value_of after-stop)" = yes ] || fail "docker stop lost a write"
check_acknowledged "round3:" "docker stop (exit code 0, $took s) and docker start"

echo "docker: $passed passed, 0 failed, 0 skipped"
