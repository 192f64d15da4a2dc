#!/usr/bin/env bash
# One protocol's run, for run.sh: protocol.sh forgekv|redis 2|3 SOURCES PYTHON [alone]
# `alone`: in a network of its own, where port 6379 is free.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$COMPAT_WORK
who=$1 protocol=$2 sources=$3 python=$4
source "$here/../server.sh"
if [ "${5:-}" = alone ]; then
  ip link set lo up
  free_port() { echo 6379; }
fi
files=({commands,pubsub,pipeline,scripting,function,lock,monitor,encoding,keyspace_notifications,cache,hash,client}.py
  {connection_pool,connection,multiprocessing,data_structure}.py)

# run_tests SERVER OUTCOMES IDS…: a fresh server of that kind; what became of each test, a line each.
run_tests() {
  local server_kind=$1 outcomes=$2
  shift 2
  rm -f "$outcomes"
  start_server "$server_kind" || exit 1
  local url="redis://127.0.0.1:$port/0"
  [ "$protocol" = 2 ] && url="$url?protocol=2"
  (cd "$sources" && OUTCOMES=$outcomes PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=".:$here" timeout 400 "$python" -m pytest -q \
    -p no:cacheprovider -p outcomes -o addopts= --timeout 30 --redis-url "$url" --redis-mod-url "$url" --protocol "$protocol" \
    -m "not onlycluster and not redismod and not ssl and not cp_integration and not replica" "$@") >"$outcomes.log" 2>&1
  stop_server
}

stem=$work/redis-py-$who-$protocol
run_tests "$who" "$stem" "${files[@]/#/tests/test_}"
rm -f "$stem.again" "$stem.redis"
if [ "$who" != redis ]; then
  mapfile -t failed < <(sed -n 's/^failed\t//p' "$stem")
  [ ${#failed[@]} -eq 0 ] || run_tests "$who" "$stem.again" "${failed[@]}" # a test about time may pass now
  mapfile -t others < <(sed -n 's/^\(failed\|skipped\)\t//p' "$stem")
  run_tests redis "$stem.redis" "${others[@]}"
fi
python3 "$here/verdict.py" "$who" "$protocol" "$stem" "$here/skip.txt"
