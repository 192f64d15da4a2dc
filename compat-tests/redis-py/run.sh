#!/usr/bin/env bash
# redis-py's own tests of a server, in RESP2 and RESP3 at once: `redis-py/run.sh [forgekv|redis]`.
#
# Every test must pass that a redis-server 7.0 passes, and every test that Redis skips as too old for it and we
# don't: what failed or was skipped here is run there, and `verdict.py` compares. `skip.txt` names exceptions.
# Some tests want a server at port 6379, so each protocol has a network of its own where the machine allows it.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${COMPAT_WORK:-$root/target/compat}
who=${1:-forgekv}
version=8.1.0
skip_all() {
  echo "SKIPPED: redis-py's tests: $1"
  echo "RESULT redis-py/$who passed=0 failed=0 skipped=1"
  exit 0
}

mkdir -p "$work"
"$root/scripts/install.sh" redis-server redis-tools || skip_all "there is no redis-server"
venv=$work/venv-redis-py
"$here/../venv.sh" "$venv" pytest pytest-asyncio pytest-timeout numpy ujson 'uvloop<=0.21' pybreaker aiohttp xxhash click \
  redis-entraid opentelemetry-{api,sdk,exporter-otlp-proto-http} cryptography requests mock ||
  skip_all "what they need can't be installed"
if [ ! -d "$work/redis-$version/tests" ]; then
  (cd "$work" && "$venv/bin/pip" download --quiet --no-binary :all: --no-deps "redis==$version" >/dev/null 2>&1 &&
    tar xzf "redis-$version.tar.gz") || skip_all "they can't be had"
fi

alone=()
if unshare --map-root-user --net ip link set lo up 2>/dev/null; then
  alone=(unshare --map-root-user --net)
else
  echo "SKIPPED: redis-py's tests at port 6379: this machine lets nobody make a network"
fi
export COMPAT_WORK=$work
running=()
for protocol in 2 3; do
  "${alone[@]}" "$here/protocol.sh" "$who" "$protocol" "$work/redis-$version" "$venv/bin/python" ${alone:+alone} \
    >"$work/redis-py-$protocol.log" 2>&1 &
  running+=($!)
done
wrong=0
for protocol in 2 3; do
  wait "${running[$((protocol - 2))]}" || wrong=1
  cat "$work/redis-py-$protocol.log"
done
exit "$wrong"
