#!/usr/bin/env bash
# All quick compatibility tests, one after another, and a summary. Fails if any of them does.
#
# FORGEKV_BIN names the server (default: target/release/forgekv). What can't be had on this machine
# is skipped with a line that says so.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
cd "$root" || exit 1
export FORGEKV_BIN=${FORGEKV_BIN:-$root/target/release/forgekv}
export COMPAT_WORK=${COMPAT_WORK:-$root/target/compat}
[ -x "$FORGEKV_BIN" ] || { echo "run.sh: there is no $FORGEKV_BIN; make build" >&2; exit 1; }
mkdir -p "$COMPAT_WORK"
output=$COMPAT_WORK/output.txt
: >"$output"
broken=()

step() { # name, command…
  local name=$1 started=$SECONDS
  shift
  echo "== $name"
  "$@" 2>&1 | tee -a "$output"
  local status=${PIPESTATUS[0]}
  echo "   ($((SECONDS - started)) s)"
  [ "$status" -eq 0 ] || broken+=("$name")
}

rust_test() { # one file of tests/; one test at a time, so that they don't disturb each other
  cargo test --quiet --locked -p forgekv-compat-tests --test "$1" -- --nocapture --include-ignored --test-threads=1
}

"$root/scripts/install.sh" redis-server redis-tools ||
  echo "SKIPPED: whatever needs a redis-server: it can't be installed" | tee -a "$output"

step "transcripts" rust_test transcripts
step "coverage of commands and options" rust_test coverage
step "resp-compatibility" rust_test resp_compat
step "hostile requests" rust_test hostile
step "kill -9 under load" rust_test crash
step "kill -9 under load, every family" rust_test crash_families
step "linearizability, with kill -9" rust_test linearizable
step "scripts that want out" rust_test fence
step "every command inside EXEC and scripts" rust_test nested
step "clients: the redis crate" rust_test redis_crate
step "clients, and programs built on them" "$here/clients/run.sh" forgekv
step "redis-py's tests" "$here/redis-py/run.sh" forgekv
step "redis-rs's tests" "$here/redis-rs/run.sh" forgekv
step "a million commands at random" "$here/differential/run.sh" --commands 1000000
step "clients that wait, at random" "$here/differential/run.sh" --waiting --steps 5000
step "Redis's Tcl tests" "$here/tcl/run.sh" forgekv
step "Redis's Tcl tests in internal mode" "$here/tcl/internal.sh" forgekv
step "fakeredis's machines" "$here/fakeredis/run.sh" forgekv

echo
grep '^SKIPPED' "$output"
sum() {
  awk -v name="$1" '/^RESULT/ { for (i = 3; i <= NF; i++) { split($i, part, "="); if (part[1] == name) n += part[2] } } END { print n + 0 }' "$output"
}
grep '^RESULT' "$output" | sed 's/^RESULT/  /'
echo "$(sum passed) passed, $(sum failed) failed, $(sum skipped) skipped"
if [ ${#broken[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${broken[@]}"
  exit 1
fi
