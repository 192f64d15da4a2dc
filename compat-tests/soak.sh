#!/usr/bin/env bash
# The long compatibility tests: a hundred kills in each sync mode, histories over as many, thousands of examples of
# fakeredis's machines, ten million commands at random, collections of ten million, Redis's Tcl tests again
# and again.
#
#   SOAK_ROUNDS=3      how often the Tcl tests run
#   CRASH_ROUNDS=100   kills per sync mode
#   LINEARIZABLE_ROUNDS=10   kills within one history, LINEARIZABLE_HISTORIES=10 of them
#   DIFFERENTIAL_COMMANDS=10000000   drawn at random
#   FAKEREDIS_HYPOTHESIS_EXAMPLES=5000
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
cd "$root" || exit 1
export FORGEKV_BIN=${FORGEKV_BIN:-$root/target/release/forgekv}
export CRASH_ROUNDS=${CRASH_ROUNDS:-100}
export FAKEREDIS_HYPOTHESIS_EXAMPLES=${FAKEREDIS_HYPOTHESIS_EXAMPLES:-5000}
export FAKEREDIS_TIMEOUT=${FAKEREDIS_TIMEOUT:-14400}
export LINEARIZABLE_ROUNDS=${LINEARIZABLE_ROUNDS:-10}
wrong=0
rust_test() {
  cargo test --quiet --locked -p forgekv-compat-tests --test "$1" -- --nocapture --include-ignored --test-threads=1
}
rust_test crash || wrong=1
rust_test crash_families || wrong=1
for _ in $(seq "${LINEARIZABLE_HISTORIES:-10}"); do rust_test linearizable || wrong=1; done
"$here/differential/run.sh" --commands "${DIFFERENTIAL_COMMANDS:-10000000}" --seed "${DIFFERENTIAL_SEED:-2}" || wrong=1
"$here/differential/run.sh" --waiting --steps "${WAITING_STEPS:-300000}" --seed "${DIFFERENTIAL_SEED:-2}" || wrong=1
"$here/proofs/run.sh" big_collections || wrong=1
"$here/fakeredis/run.sh" forgekv || wrong=1
for round in $(seq "${SOAK_ROUNDS:-3}"); do
  echo "== Tcl tests, round $round"
  "$here/tcl/run.sh" forgekv || wrong=1
done
[ "$wrong" -eq 0 ] && echo "soak: all passed" || echo "soak: FAILED"
exit "$wrong"
