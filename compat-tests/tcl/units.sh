# Sourced by run.sh and internal.sh: what running units of Redis's Tcl tests has in both modes.
#
# The caller sets `here`, `work`, `who` (forgekv, redis), and the three below.
#   result    the name of the RESULT line
#   expected  a file: unit, tests that Redis passes, tests that ForgeKV must pass
#   left_out  a file: unit, name of a test that is left out, the reason
total_ok=0 total_err=0 total_skip=0 wrong=0

# skip_all WHY: ends the run, since there is nothing to run.
skip_all() {
  echo "SKIPPED: Redis's Tcl tests: $1"
  echo "RESULT $result passed=0 failed=0 skipped=1"
  exit 0
}

# all_units: the units that are expected to pass.
all_units() { grep -v '^#' "$expected" | cut -f1; }

# leave_out UNIT FILE: writes the names of tests that are left out into FILE.
leave_out() {
  : >"$2"
  [ "$who" = redis ] || awk -F'\t' -v unit="$1" '$1 == unit {print $2}' "$left_out" >"$2"
}

heading() { printf '%-26s %7s %7s %8s %9s %7s\n' unit passed failed skipped expected Redis; }

# has_failed LOG: whether a test did.
has_failed() { sed 's/\x1b\[[0-9;]*m//g' "$1" | grep -aqE '^\[(err|exception|TIMEOUT)\]'; }

# count UNIT LOG: reads what the tests printed, and prints the unit's row.
count() {
  local unit=$1 log=$2 ok err left redis least mark=
  sed -i 's/\x1b\[[0-9;]*m//g' "$log"
  ok=$(grep -ac '^\[ok\]' "$log")
  err=$(grep -acE '^\[(err|exception|TIMEOUT)\]' "$log")
  left=$(grep -ac '^\[skip\]' "$log")
  IFS=$'\t' read -r _ redis least < <(grep -P "^$unit\t" "$expected" || echo -e "$unit\t-\t0")
  [ "$who" = redis ] && least=$redis
  if [ "$err" -gt 0 ] || [ "$ok" -lt "${least/-/0}" ]; then
    mark='  <-- wrong'
    wrong=$((wrong + 1))
  fi
  printf '%-26s %7d %7d %8d %9s %7s%s\n' "$unit" "$ok" "$err" "$left" "$least" "$redis" "$mark"
  grep -aE '^\[(err|exception|TIMEOUT)\]' "$log" | sed 's/^/    /' | cut -c1-200
  total_ok=$((total_ok + ok)) total_err=$((total_err + err)) total_skip=$((total_skip + left))
}

# finish: prints what was left out and the sum; false if a unit was wrong.
finish() {
  [ "$who" = redis ] || { echo "left out:" && awk -F'\t' '!/^#/ && NF >= 3 {print "  " $1 ": " $2 " (" $3 ")"}' "$left_out"; }
  [ "$wrong" -gt 0 ] && [ "$total_err" -eq 0 ] && total_err=$wrong
  echo "RESULT $result passed=$total_ok failed=$total_err skipped=$total_skip"
  [ "$wrong" -eq 0 ]
}
