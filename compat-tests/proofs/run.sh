#!/usr/bin/env bash
# All proofs, one after another, and their sum. --quick takes less data. Names run only those.
#
# FORGEKV_BIN names the server (default: target/release/forgekv).
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export FORGEKV_BIN=${FORGEKV_BIN:-$here/../../target/release/forgekv}
quick=()
names=()
for word in "$@"; do
  case $word in
    --quick) quick=(--quick) ;;
    -*) echo "usage: run.sh [--quick] [NAME...]" >&2; exit 2 ;;
    *) names+=("$word") ;;
  esac
done
[ ${#names[@]} -gt 0 ] || names=(startup full_disk always_sync memory hot_cold constant_time redis_round_trip big_collections)
passed=0 failed=0 skipped=0 broken=()
for name in "${names[@]}"; do
  exec 3>&1
  last=$(python3 -B "$here/$name.py" "${quick[@]}" | tee /dev/fd/3 | tail -1)
  if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
    passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
    skipped=$((skipped + BASH_REMATCH[3]))
    [ "${BASH_REMATCH[2]}" -eq 0 ] || broken+=("$name")
  else
    echo "$name ended without its sum" >&2
    failed=$((failed + 1)) broken+=("$name")
  fi
  echo
done
[ ${#broken[@]} -eq 0 ] || echo "failed: ${broken[*]}"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
