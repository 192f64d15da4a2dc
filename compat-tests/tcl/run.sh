#!/usr/bin/env bash
# Redis 7.0.15's own Tcl tests in external mode, a fresh server for each unit.
#
#   tcl/run.sh                      ForgeKV, all units of expected.tsv
#   tcl/run.sh forgekv unit/scan    one unit
#   tcl/run.sh redis                the same against redis-server
#
# skip.txt names tests that are left out, each with its reason; expected.tsv says how many must pass.
# The output of each unit is kept in target/compat/tcl/.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${COMPAT_WORK:-$root/target/compat}
source "$here/../server.sh"
who=${1:-forgekv}
shift || true
units=("$@")
[ ${#units[@]} -gt 0 ] || mapfile -t units < <(grep -v '^#' "$here/expected.tsv" | cut -f1)

skip_all() {
  echo "SKIPPED: Redis's Tcl tests: $1"
  echo "RESULT tcl/$who passed=0 failed=0 skipped=1"
  exit 0
}
tree=$("$here/source.sh" "$work/redis-source") || skip_all "the source of Redis 7.0.15 can't be had"

mkdir -p "$work/tcl"
total_ok=0 total_err=0 total_skip=0 wrong=0
printf '%-22s %7s %7s %8s %9s %7s\n' unit passed failed skipped expected Redis
for unit in "${units[@]}"; do
  name=${unit//\//-}
  log=$work/tcl/$who-$name.log
  # Redis 7.0 packs no sets but those of integers, and no lists, and its tests say so. And they send on one
  # connection, do not read the answer, and count on it that this is executed before what they send next on
  # another: true of one worker, not of several.
  flags=()
  [ "$who" = redis ] || flags=(--set-max-listpack-entries 0 --list-max-listpack-size 0 --threads 1)
  # This one sets the limit of lists itself, to one at which 7.2 packs them.
  options=()
  [ "$who/$unit" = forgekv/unit/sort ] && options=(--ignore-encoding)
  if ! start_server "$who" "${flags[@]}" >"$log" 2>&1; then
    echo "[err]: the server did not start" >>"$log"
  else
    skip=$server_dir/skip
    if [ "$who" = redis ]; then
      : >"$skip"
    else
      awk -F'\t' -v unit="$unit" '$1 == unit {print $2}' "$here/skip.txt" >"$skip"
    fi
    # The suite's tags leave out what an external server can't do.
    (cd "$tree" && TERM=dumb timeout 600 ./runtest --host 127.0.0.1 --port "$port" --single "$unit" \
      --timeout 90 --baseport $((21000 + RANDOM % 9000)) --portcount 200 --durable \
      --tags "-needs:repl -large-memory" --skipfile "$skip" "${options[@]}") >>"$log" 2>&1 ||
      echo "runtest ended with an error" >>"$log"
    kill -0 "$server" 2>/dev/null || echo "[err]: the server is gone" >>"$log"
    stop_server
  fi
  sed -i 's/\x1b\[[0-9;]*m//g' "$log"
  ok=$(grep -c '^\[ok\]' "$log")
  err=$(grep -cE '^\[(err|exception|TIMEOUT)\]' "$log")
  left=$(grep -c '^\[skip\]' "$log")
  IFS=$'\t' read -r _ redis least < <(grep -P "^$unit\t" "$here/expected.tsv" || echo -e "$unit\t-\t0")
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
[ "$who" = redis ] || { echo "left out:" && awk -F'\t' '!/^#/ && NF >= 3 {print "  " $1 ": " $2 " (" $3 ")"}' "$here/skip.txt"; }
[ "$wrong" -gt 0 ] && [ "$total_err" -eq 0 ] && total_err=$wrong
echo "RESULT tcl/$who passed=$total_ok failed=$total_err skipped=$total_skip"
[ "$wrong" -eq 0 ]
