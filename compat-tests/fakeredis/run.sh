#!/usr/bin/env bash
# fakeredis's hypothesis machines, server against server: random sequences of commands go to our
# server and to redis-server, and a difference is shrunk to the smallest one.
#
#   fakeredis/run.sh [forgekv|redis]      FAKEREDIS_HYPOTHESIS_EXAMPLES=250 by default
#
# `machines.txt` names the machines. They compare kinds of errors, not
# texts; no streams, no expiry.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${COMPAT_WORK:-$root/target/compat}
source "$here/../server.sh"
who=${1:-forgekv}
skip_all() {
  echo "SKIPPED: fakeredis's machines: $1"
  echo "RESULT fakeredis/$who passed=0 failed=0 skipped=1"
  exit 0
}
version=2.40.0
mkdir -p "$work"
"$here/../../scripts/install.sh" redis-server redis-tools || skip_all "there is no redis-server"
venv=$work/venv-fakeredis
"$here/../venv.sh" "$venv" "fakeredis[lua,json,bf,cf,probabilistic,valkey,vectorset]==$version" \
  pytest hypothesis pytest-timeout pytest-asyncio pytest-mock valkey || skip_all "fakeredis can't be installed"
tests=$work/fakeredis-$version
if [ ! -d "$tests/test/test_hypothesis" ]; then
  (cd "$work" && "$venv/bin/pip" download --quiet --no-binary :all: --no-deps \
    "fakeredis==$version" >/dev/null 2>&1; tar xzf "fakeredis-$version.tar.gz") || skip_all "its tests can't be had"
fi

start_server redis || exit 1
reference_port=$port reference=$server reference_dir=$server_dir
start_server "$who" || { kill -KILL "$reference"; exit 1; }
stop_both() { stop_server; kill -KILL "$reference" 2>/dev/null; wait "$reference" 2>/dev/null; rm -rf "$reference_dir"; }
trap stop_both EXIT

run=$work/fakeredis-run
rm -rf "$run" && cp -r "$tests" "$run"
python3 "$here/two_servers.py" "$run/test" "$reference_port" "$port" || skip_all "its tests have changed"
mapfile -t machines < <(grep -v '^#' "$here/machines.txt" | cut -d: -f1)
cd "$run"
FAKEREDIS_HYPOTHESIS_EXAMPLES=${FAKEREDIS_HYPOTHESIS_EXAMPLES:-250} timeout "${FAKEREDIS_TIMEOUT:-900}" "$venv/bin/python" -m pytest \
  -q -p no:cacheprovider --timeout "${FAKEREDIS_TIMEOUT:-600}" "${machines[@]/#/test/test_hypothesis/}" >"$work/fakeredis-$who.log" 2>&1
count() { grep -oE "[0-9]+ $1" "$work/fakeredis-$who.log" | tail -1 | grep -oE '^[0-9]+' || echo 0; }
passed=$(count passed) failed=$(($(count failed) + $(count 'errors?')))
if [ "$failed" -gt 0 ] || [ "$passed" -eq 0 ]; then
  tail -80 "$work/fakeredis-$who.log"
  echo "RESULT fakeredis/$who passed=$passed failed=$((failed > 0 ? failed : 1)) skipped=0"
  exit 1
fi
echo "RESULT fakeredis/$who passed=$passed failed=0 skipped=0"
