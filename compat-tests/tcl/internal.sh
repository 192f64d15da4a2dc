#!/usr/bin/env bash
# Redis 7.0.15's own Tcl tests in internal mode: the suite itself starts and stops the server, from a
# configuration file and flags that it writes, so ours stands where redis-server would.
#
#   tcl/internal.sh                      ForgeKV, all units of internal-expected.tsv
#   tcl/internal.sh forgekv unit/wait    one unit
#   tcl/internal.sh redis                the same with redis-server
#
# internal-skip.txt names tests that are left out, each with its reason; internal-expected.tsv says how
# many must pass; internal.sed says what of them is read otherwise. The output of each unit is kept in
# target/compat/tcl/. Two units run at a time (UNITS_AT_ONCE).
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${COMPAT_WORK:-$root/target/compat}
who=${1:-forgekv}
shift || true
result=tcl-internal/$who expected=$here/internal-expected.tsv left_out=$here/internal-skip.txt
source "$here/units.sh"
units=("$@")
[ ${#units[@]} -gt 0 ] || mapfile -t units < <(all_units)

source_tree=$("$here/source.sh" "$work/redis-source") || skip_all "the source of Redis 7.0.15 can't be had"
mkdir -p "$work/tcl"
tree=$(mktemp -d "$work/tcl/tree-XXXXXX")
trap 'rm -rf "$tree"' EXIT
mkdir "$tree/src"
cp -a "$source_tree"/{tests,runtest} "$tree/"
cp -a "$source_tree"/src/redis-{server,cli,benchmark,check-aof,check-rdb} "$tree/src/"
# Tests that want a replica. Some have only the second tag, which is on no test of one server.
tags="-needs:repl -large-memory"
if [ "$who" != redis ]; then
  tags="$tags -repl"
  sed -i -f "$here/internal.sed" "$tree"/tests/{unit,integration}/*.tcl
  # Redis 7.0 packs no sets but those of integers, and no lists, and its tests say so.
  # One thread, because they count on it that what was sent first is done first, on whatever connection.
  printf '\nset-max-listpack-entries 0\nlist-max-listpack-size 0\nthreads 1\n' >>"$tree/tests/assets/default.conf"
  rm "$tree/src/redis-server"
  cat >"$tree/src/redis-server" <<END
#!/usr/bin/env bash
ulimit -v $((16 << 20))
exec -a redis-server '${FORGEKV_BIN:-$root/target/release/forgekv}' "\$@"
END
  chmod +x "$tree/src/redis-server"
fi

log_of() { echo "$work/tcl/internal-$who-${1//\//-}.log"; }

# run_unit UNIT PORT: in a copy of the tests of its own, since the suite clears its directory at the end.
run_unit() {
  local own log tags=$tags
  own=$(mktemp -d "$tree-XXXXXX")
  log=$(log_of "$1")
  cp -a "$tree/." "$own/"
  # These are about two servers, neither of which is a replica.
  [ "$1" != unit/dump ] || tags=${tags/ -repl/}
  leave_out "$1" "$own/skip"
  (cd "$own" && TERM=dumb timeout 600 ./runtest --single "$1" --timeout "${TCL_TIMEOUT:-120}" \
    --baseport "$2" --portcount 200 --durable --tags "$tags" --skipfile "$own/skip") >"$log" 2>&1 ||
    echo "runtest ended with an error" >>"$log"
  # A test that ran out of time may have left servers; they are in its directory.
  for process in /proc/[0-9]*; do
    case $(readlink "$process/cwd") in "$own"*) kill -9 "${process#/proc/}" ;; esac
  done 2>/dev/null
  rm -rf "$own"
}

port=$((21000 + RANDOM % 2000))
for unit in "${units[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "${UNITS_AT_ONCE:-2}" ]; do wait -n; done
  port=$((port + 300))
  run_unit "$unit" "$port" &
done
wait
# Some tests are about time and memory: what failed beside another unit is tried once more, by itself.
for unit in "${units[@]}"; do
  has_failed "$(log_of "$unit")" || continue
  port=$((port + 300))
  echo "again: $unit"
  run_unit "$unit" "$port"
done
heading
for unit in "${units[@]}"; do count "$unit" "$(log_of "$unit")"; done
finish
