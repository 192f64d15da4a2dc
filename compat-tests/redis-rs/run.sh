#!/usr/bin/env bash
# redis-rs's tests in RESP2 and RESP3: `redis-rs/run.sh [forgekv|redis]`. Each test starts the server anew, with
# redis-server's own flags.
#
# The sources are those of the `redis` crate that Cargo.lock names. What its tests need besides and is
# published is fetched; what is not, `test-macros`, is made here (async_test.rs).
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${COMPAT_WORK:-$root/target/compat}
who=${1:-forgekv}
helpers=1.0.4 # of redis-test
least=340     # tests that pass; fewer means that something kept them from running
features=acl,aio,cache-aio,connection-manager,geospatial,script,streams,tokio-comp
tests=(parser test_acl test_async test_auth test_basic test_bignum test_cache test_geospatial test_script test_streams test_types)
skip_all() {
  echo "SKIPPED: redis-rs's tests: $1"
  echo "RESULT redis-rs/$who passed=0 failed=0 skipped=1"
  exit 0
}

"$root/scripts/install.sh" redis-server redis-tools python3 || skip_all "there is no redis-server"
manifest=$(cargo metadata --format-version 1 --locked --manifest-path "$root/Cargo.toml" 2>/dev/null | python3 -c '
import json, sys
print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "redis"))') || skip_all "there is no redis crate"
source=$(dirname "$manifest")
[ -d "$source/tests" ] || skip_all "the published crate has no tests any more"

build=$work/redis-rs
if ! cmp -s "$manifest" "$build/redis/Cargo.toml.published" || [ "$0" -nt "$build/redis/Cargo.toml" ]; then
  rm -rf "$build/redis" && mkdir -p "$build/test-macros/src"
  cp -r "$source" "$build/redis" && chmod -R u+w "$build/redis"
  cp "$manifest" "$build/redis/Cargo.toml.published"
  rm -f "$build/redis/Cargo.lock" # not of these dependencies
  # Benchmarks and TLS want crates that are long in the making and not used here.
  sed -i '/^\[dev-dependencies\.\(criterion\|rustls\)\]/,/^$/d' "$build/redis/Cargo.toml"
  cat >>"$build/redis/Cargo.toml" <<EOF

[dev-dependencies.redis-test]
version = "=$helpers"

[dev-dependencies.test-macros]
path = "../test-macros"

[patch.crates-io]
redis = { path = "." }

[workspace]
EOF
  printf '[package]\nname = "test-macros"\nversion = "0.1.0"\nedition = "2024"\n[lib]\nproc-macro = true\n' >"$build/test-macros/Cargo.toml"
fi
cp "$here/async_test.rs" "$build/test-macros/src/lib.rs"

cargo_test() { # arguments
  (cd "$build/redis" && CARGO_TARGET_DIR=$build/target cargo test --quiet --features "$features" "$@")
}
cargo_test "${tests[@]/#/--test=}" --no-run >"$build/build.log" 2>&1 || { tail -20 "$build/build.log"; skip_all "they can't be built"; }

export REDISRS_SERVER_TYPE=tcp REDISRS_SERVER_BIN=$here/fresh.sh SERVER_UNDER_TEST FRESH=$build/data
if [ "$who" = redis ]; then
  SERVER_UNDER_TEST=$(command -v redis-server)
else
  SERVER_UNDER_TEST=${FORGEKV_BIN:-$root/target/release/forgekv}
fi
# run_tests FILE [TESTS…]: writes a line `file::test ok` (or FAILED, ignored) for each test to FILE; one at a time,
# for they share a hook for panics. What else they print goes to FILE.log.
run_tests() {
  local told=$1 file
  shift
  : >"$told" && : >"$told.log"
  for file in "${tests[@]}"; do
    cargo_test --test="$file" -- --test-threads=1 --format=pretty ${1:+--exact "$@"} 2>>"$told.log" |
      tee -a "$told.log" | sed -n "s/^test \([^ ]*\) .*\(ok\|FAILED\|ignored\)\$/$file::\1 \2/p" >>"$told"
  done
}
excepted() { grep -v '^#' "$here/skip.txt" | cut -f1; }
named() { grep " $1\$" "$2" | cut -d' ' -f1; }

wrong=0
for protocol in RESP2 RESP3; do
  said=$build/$who-$protocol
  rm -rf "$FRESH" && mkdir -p "$FRESH"
  export PROTOCOL=$protocol
  run_tests "$said"
  mapfile -t failed < <(named FAILED "$said" | if [ "$who" = redis ]; then cat; else grep -vxFf <(excepted); fi)
  if [ ${#failed[@]} -gt 0 ]; then # a test about time may pass when it is tried again
    run_tests "$said.again" "${failed[@]#*::}"
    mapfile -t failed < <(named FAILED "$said.again")
  fi
  passed=$(named ok "$said" | wc -l)
  skipped=$(named FAILED "$said" | grep -cxFf <(excepted))
  [ ${#failed[@]} -eq 0 ] || { printf 'FAILED: %s\n' "${failed[@]}"; wrong=1; }
  if [ "$who" != redis ] && named ok "$said" | grep -xFf <(excepted); then
    echo "FAILED: these pass, but skip.txt has them"
    wrong=1
  fi
  [ "$passed" -ge "$least" ] || { echo "FAILED: only $passed passed, of at least $least; see $said.log"; wrong=1; }
  echo "RESULT redis-rs/$who-$protocol passed=$passed failed=${#failed[@]} skipped=$skipped"
done
rm -rf "$FRESH"
exit "$wrong"
