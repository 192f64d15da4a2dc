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
result=tcl/$who expected=$here/expected.tsv left_out=$here/skip.txt
source "$here/units.sh"
units=("$@")
[ ${#units[@]} -gt 0 ] || mapfile -t units < <(all_units)

tree=$("$here/source.sh" "$work/redis-source") || skip_all "the source of Redis 7.0.15 can't be had"

mkdir -p "$work/tcl"
heading
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
    leave_out "$unit" "$skip"
    # The suite's tags leave out what an external server can't do.
    (cd "$tree" && TERM=dumb timeout 600 ./runtest --host 127.0.0.1 --port "$port" --single "$unit" \
      --timeout 90 --baseport $((21000 + RANDOM % 9000)) --portcount 200 --durable \
      --tags "-needs:repl -large-memory" --skipfile "$skip" "${options[@]}") >>"$log" 2>&1 ||
      echo "runtest ended with an error" >>"$log"
    kill -0 "$server" 2>/dev/null || echo "[err]: the server is gone" >>"$log"
    stop_server
  fi
  count "$unit" "$log"
done
finish
