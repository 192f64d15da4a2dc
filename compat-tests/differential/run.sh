#!/usr/bin/env bash
# ForgeKV and redis-server 7.0, asked the same at random: differential.py says how. Arguments go to it, or
# with --waiting before them to waiting.py, where clients wait.
#
# FORGEKV_BIN names the server (default: target/release/forgekv).
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export FORGEKV_BIN=${FORGEKV_BIN:-$here/../../target/release/forgekv}
version=$(redis-server --version 2>/dev/null | sed -n 's/.* v=\([0-9]*\.[0-9]*\).*/\1/p')
if [ "$version" != 7.0 ]; then
  echo "SKIPPED: the differential run: there is no redis-server 7.0 (${version:-none})"
  echo "RESULT differential passed=0 failed=0 skipped=1"
  exit 0
fi
program=differential
if [ "${1:-}" = --waiting ]; then
  program=waiting
  shift
fi
exec 3>&1
last=$(python3 -B "$here/$program.py" "$@" | tee /dev/fd/3 | tail -1)
if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
  echo "RESULT $program passed=${BASH_REMATCH[1]} failed=${BASH_REMATCH[2]} skipped=${BASH_REMATCH[3]}"
  [ "${BASH_REMATCH[2]}" -eq 0 ]
else
  echo "RESULT $program passed=0 failed=1 skipped=0"
  exit 1
fi
