#!/usr/bin/env bash
# Redis 7.0.15's own Tcl tests in internal mode: the suite itself starts and stops the server, from a
# configuration file and flags that it writes, so ours stands where redis-server would.
#
#   tcl/internal.sh                      ForgeKV, all units of internal-expected.tsv
#   tcl/internal.sh forgekv unit/wait    one unit
#   tcl/internal.sh redis                the same with redis-server
#
# internal-skip.txt names tests that are left out, each with its reason; internal-expected.tsv says how
# many must pass. The output of each unit is kept in target/compat/tcl/.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${COMPAT_WORK:-$root/target/compat}
who=${1:-forgekv}
shift || true
units=("$@")
[ ${#units[@]} -gt 0 ] || mapfile -t units < <(grep -v '^#' "$here/internal-expected.tsv" | cut -f1)

skip_all() {
  echo "SKIPPED: Redis's Tcl tests in internal mode: $1"
  echo "RESULT tcl-internal/$who passed=0 failed=0 skipped=1"
  exit 0
}
source_tree=$("$here/source.sh" "$work/redis-source") || skip_all "the source of Redis 7.0.15 can't be had"
mkdir -p "$work/tcl"
tree=$(mktemp -d "$work/tcl/tree-XXXXXX")
trap 'rm -rf "$tree"' EXIT
cp -a "$source_tree/tests" "$source_tree/runtest" "$source_tree/src" "$tree/"
if [ "$who" != redis ]; then
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

# What the tags leave out: the second of them marks what needs a replica, but is on no test of one server.
tags="-needs:repl -large-memory"
[ "$who" = redis ] || tags="$tags -repl"

total_ok=0 total_err=0 total_skip=0 wrong=0
printf '%-22s %7s %7s %8s %9s %7s\n' unit passed failed skipped expected Redis
for unit in "${units[@]}"; do
  log=$work/tcl/internal-$who-${unit//\//-}.log
  skip=$tree/skip
  : >"$skip"
  [ "$who" = redis ] ||
    awk -F'\t' -v unit="$unit" '$1 == unit {print $2}' "$here/internal-skip.txt" >"$skip"
  port=$((21000 + RANDOM % 9000))
  (cd "$tree" && TERM=dumb timeout 600 ./runtest --single "$unit" --timeout ${TCL_TIMEOUT:-120} --baseport $port \
    --portcount 200 --durable --tags "$tags" --skipfile "$skip") >"$log" 2>&1 ||
    echo "runtest ended with an error" >>"$log"
  sed -i 's/\x1b\[[0-9;]*m//g' "$log"
  ok=$(grep -c '^\[ok\]' "$log")
  err=$(grep -cE '^\[(err|exception|TIMEOUT)\]' "$log")
  left=$(grep -c '^\[skip\]' "$log")
  IFS=$'\t' read -r _ redis least < <(grep -P "^$unit\t" "$here/internal-expected.tsv" || echo -e "$unit\t-\t0")
  mark=
  [ "$who" = redis ] && least=$redis
  if [ "$err" -gt 0 ] || [ "$ok" -lt "${least/-/0}" ]; then
    mark='  <-- wrong'
    wrong=$((wrong + 1))
  fi
  printf '%-22s %7d %7d %8d %9s %7s%s\n' "$unit" "$ok" "$err" "$left" "$least" "$redis" "$mark"
  grep -E '^\[(err|exception|TIMEOUT)\]' "$log" | sed 's/^/    /' | cut -c1-200
  total_ok=$((total_ok + ok)) total_err=$((total_err + err)) total_skip=$((total_skip + left))
done
[ "$who" = redis ] || { echo "left out:" && awk -F'\t' '!/^#/ && NF >= 3 {print "  " $1 ": " $2 " (" $3 ")"}' "$here/internal-skip.txt"; }
[ "$wrong" -gt 0 ] && [ "$total_err" -eq 0 ] && total_err=$wrong
echo "RESULT tcl-internal/$who passed=$total_ok failed=$total_err skipped=$total_skip"
[ "$wrong" -eq 0 ]
