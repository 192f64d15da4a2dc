#!/usr/bin/env bash
# Real clients, and programs that are built on them, against a server: `clients/run.sh [forgekv|redis] [programs…]`.
# Each program is one file, told the port, and prints a RESULT line. What can't be had is skipped, loudly.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${COMPAT_WORK:-$root/target/compat}
source "$here/../server.sh"
who=${1:-forgekv}
shift
only=" $* "
wrong=0
failed() { echo "FAILED: $1"; echo "RESULT clients/$2 passed=0 failed=1 skipped=0"; wrong=1; }
skipped() { echo "SKIPPED: $1"; echo "RESULT clients/$2 passed=0 failed=0 skipped=1"; }
wanted() { [ "$only" = "  " ] || [[ "$only" == *" $1 "* ]]; }

python_programs=(redis_py redis_asyncio redis_lock redis_cache rate_limiter rq_jobs dramatiq_actors celery_tasks)
node_programs=(ioredis node_redis client_cache redlock sessions bullmq)

mkdir -p "$work"
start_server "$who" || exit 1

venv=$work/venv-clients
if "$here/../venv.sh" "$venv" redis==8.1.0 rq==3.0.0 dramatiq==2.2.1 celery==5.7.0 packaging; then
  for program in "${python_programs[@]}"; do
    wanted "$program" || continue
    PYTHONDONTWRITEBYTECODE=1 timeout 120 "$venv/bin/python" "$here/$program.py" "$port" || failed "$program.py" "$program"
  done
else
  skipped "redis-py, RQ, Dramatiq and Celery can't be installed" python
fi

if command -v npm >/dev/null || "$root/scripts/install.sh" nodejs npm; then
  mkdir -p "$work/node"
  cp "$here"/*.js "$work/node/"
  if cmp -s "$here/package.json" "$work/node/package.json" && [ -d "$work/node/node_modules/ioredis" ] ||
    (cd "$work/node" && rm -rf node_modules package-lock.json && cp "$here/package.json" . &&
      npm install --silent --no-audit --no-fund >/dev/null 2>&1); then
    for program in "${node_programs[@]}"; do
      wanted "$program" || continue
      (cd "$work/node" && timeout 120 node "$program.js" "$port") || failed "$program.js" "$program"
    done
  else
    rm -f "$work/node/package.json"
    skipped "ioredis, node-redis and what is built on them can't be installed" node
  fi
else
  skipped "there is no node" node
fi

if ! wanted redis-cli; then
  :
elif command -v redis-cli >/dev/null || "$root/scripts/install.sh" redis-tools; then
  cli() { redis-cli -p "$port" "$@"; }
  ok=0
  before=$wrong wrong=0
  expect() { # what, wanted, got
    if [ "$2" = "$3" ]; then ok=$((ok + 1)); else failed "redis-cli $1: wanted '$2', got '$3'" redis-cli; fi
  }
  cli flushall >/dev/null
  expect set OK "$(cli set hello world)"
  expect get world "$(cli get hello)"
  expect "-3 hgetall" 'f v' "$(cli hset h f v >/dev/null; cli -3 --raw hgetall h | tr '\n' ' ' | sed 's/ $//')"
  expect "--scan" 'h hello' "$(cli --scan | sort | tr '\n' ' ' | sed 's/ $//')"
  expect "-x" OK "$(head -c 100000 /dev/zero | cli -x set zeros)"
  expect strlen 100000 "$(cli strlen zeros)"
  expect "-n 3" 0 "$(cli -n 3 dbsize)"
  expect "--csv" '"1","2",NULL' "$(cli mset a 1 b 2 >/dev/null; cli --csv mget a b c)"
  expect "--pipe" 'errors: 0, replies: 1000' "$(for i in $(seq 1000); do printf 'SET key:%d %d\r\n' "$i" "$i"; done | cli --pipe | tail -1)"
  expect "info" 1 "$(cli info server | grep -c '^redis_version:7')"
  expect "--bigkeys" 1 "$(cli --bigkeys | grep -m1 -c 'Biggest string found')"
  expect "--memkeys" 1 "$(cli --memkeys | grep -m1 -c 'Biggest string found')"
  [ "$wrong" -eq 0 ] && echo "RESULT clients/redis-cli passed=$ok failed=0 skipped=0"
  wrong=$((wrong | before))

  told=$work/redis-benchmark.txt
  if timeout 120 redis-benchmark -p "$port" -q -n 20000 -P 16 -r 10000 \
    -t ping_inline,ping_mbulk,set,get,incr,hset,mset >"$told" 2>&1 &&
    [ "$(tr '\r' '\n' <"$told" | grep -c 'requests per second')" -ge 7 ] && ! grep -qi 'error' "$told"; then
    tr '\r' '\n' <"$told" | grep -o '[A-Z].*requests per second.*' | sed 's/^/  /'
    echo "RESULT clients/redis-benchmark passed=7 failed=0 skipped=0"
  else
    cat "$told"
    failed "redis-benchmark" redis-benchmark
  fi
else
  skipped "redis-cli and redis-benchmark can't be installed" redis-cli
fi
stop_server
exit "$wrong"
