#!/usr/bin/env bash
# ForgeKV beside Redis, and beside any server that is named: the same workloads, in interleaved
# rounds, on the same core. Writes BENCHMARK_RESULTS.md.
#
#   benchmark/run.sh                           everything; about an hour
#   benchmark/run.sh --quick                   a smoke run of everything, into target/benchmark
#   benchmark/run.sh --sections strings,seed   some sections; the others keep their last figures
#   benchmark/run.sh --only 'SET p16'          workloads whose name matches, into target/benchmark
#   benchmark/run.sh --rounds 3 --seconds 5 --keys 1000000 --budget-mb 512
#   benchmark/run.sh --report                  BENCHMARK_RESULTS.md from the records that are there
#   benchmark/run.sh valkey=127.0.0.1:7001 kvrocks=10.0.0.5:6666:PID
#                                              rivals: EMPTIED before each section; start them with
#                                              taskset -c 0. With the process id their CPU time and
#                                              memory are measured too
#
# Sections: strings counters hashes types programs messages kilobyte millions large seed cross (see the end
# of this file).
#
# The first column is ForgeKV as it is shipped: forgekv.conf, wal_sync_mode EverySecond. Another
# binary is measured with FORGEKV=path; other flags with FORGEKV_FLAGS="--wal_sync_mode Always".
#
# Server CPU per command is the figure to trust: client and server share a machine, and ops/s moves
# with what the client and the kernel do. The client is benchmark/load, which checks every reply.
set -euo pipefail
cd "$(dirname "$0")/.."

sections="strings counters hashes types programs messages kilobyte millions large seed cross"
rounds=5 seconds=10 keys=1000000 many=10000000 budget_mb=512 load_pipeline=32
only= report= scratch_only=
rivals=()
command_line="benchmark/run.sh $*"
while [ $# -gt 0 ]; do
  case $1 in
    --quick) rounds=1 seconds=1 keys=20000 many=100000 budget_mb=64 scratch_only=yes ;;
    --sections) sections=${2//,/ }; shift ;;
    --only) only=$2 scratch_only=yes; shift ;;
    --rounds) rounds=$2; shift ;;
    --seconds) seconds=$2; shift ;;
    --keys) keys=$2; shift ;;
    --budget-mb) budget_mb=$2; shift ;;
    --report) report=yes ;;
    *=*:*) rivals+=("$1") ;;
    *) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'; exit 2 ;;
  esac
  shift
done

work=target/benchmark
results=benchmark/results
output=BENCHMARK_RESULTS.md
if [ -n "$scratch_only" ]; then
  results=$work/results output=$work/results.md
  rm -rf "$results"
fi
mkdir -p "$work" "$results"

# ---- What is needed ----

(cd benchmark/load && CARGO_TARGET_DIR=../../$work/load cargo build --release --locked -q)
load=$work/load/release/forgekv-load
if [ -z "$report" ]; then
  origin="commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
  git diff --quiet HEAD -- rust Cargo.toml Cargo.lock forgekv.conf 2>/dev/null || origin+=" with changes"
  if [ -n "${FORGEKV:-}" ]; then
    origin="the binary $FORGEKV"
  else
    cargo build --release --locked -q -p forgekv
    FORGEKV=${CARGO_TARGET_DIR:-target}/release/forgekv
  fi
  command -v redis-server >/dev/null || scripts/install.sh redis-server ||
    echo "no redis-server: its columns are missing" >&2
fi
memtier=$(command -v "${MEMTIER:-memtier_benchmark}" || true)

# The server has one core, the client another; with one core only, they share it.
server_core=() client_core=()
if [ "$(nproc)" -gt 1 ]; then
  server_core=(taskset -c 0) client_core=(taskset -c 1)
fi

# ---- Servers ----

names=()          # in the order of the table; ours is the first
declare -A host port pid
declare -A rival_pid # of the servers that are not ours to start; empty where it is unknown
cgroup=

finish() {
  local status=$?
  trap - EXIT
  stop_servers
  rm -rf "$work/data"
  exit "$status"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

free_port() {
  local try
  for try in $(seq $((21000 + RANDOM % 10000)) 32000); do
    (exec 3<>"/dev/tcp/127.0.0.1/$try") 2>/dev/null || { echo "$try"; return; }
  done
}

answers() { # SERVER: it says PONG
  local reply
  { exec 3<>"/dev/tcp/${host[$1]}/${port[$1]}" && printf 'PING\r\n' >&3 &&
    IFS= read -r -t 5 reply <&3 && exec 3>&-; } 2>/dev/null && [[ $reply == +PONG* ]]
}

# Starts SERVER on an empty directory. Within the memory cgroup, if there is one.
start() {
  local name=$1 dir=$work/data/$1 command=()
  if [ -n "${rival_pid[$name]+given}" ]; then
    printf 'FLUSHALL\r\n' >"/dev/tcp/${host[$name]}/${port[$name]}"
    answers "$name" || { echo "$name at ${host[$name]}:${port[$name]} does not answer" >&2; exit 1; }
    return
  fi
  rm -rf "$dir"
  mkdir -p "$dir"
  host[$name]=127.0.0.1 port[$name]=$(free_port)
  case $name in
    forgekv)
      # shellcheck disable=SC2206
      command=("$FORGEKV" forgekv.conf --port "${port[$name]}" --dir "$dir" ${FORGEKV_FLAGS:-}) ;;
    redis) command=(redis-server --port "${port[$name]}" --dir "$dir" --save "" --appendonly no) ;;
    redis-aof)
      command=(redis-server --port "${port[$name]}" --dir "$dir" --save "" --appendonly yes --appendfsync everysec) ;;
  esac
  shift
  (
    [ -z "$cgroup" ] || echo "$BASHPID" >"$cgroup/cgroup.procs"
    exec "${pinned_server[@]}" "${command[@]}" "$@"
  ) >"$work/$name.log" 2>&1 &
  pid[$name]=$!
  for _ in $(seq 300); do
    answers "$name" && return
    kill -0 "${pid[$name]}" 2>/dev/null || break
    sleep 0.1
  done
  tail -5 "$work/$name.log" >&2
  echo "$name does not start" >&2
  exit 1
}

stop() {
  [ -z "${rival_pid[$1]+given}" ] && [ -n "${pid[$1]:-}" ] || return 0
  kill "${pid[$1]}" 2>/dev/null || true
  wait "${pid[$1]}" 2>/dev/null || true
  unset "pid[$1]"
  rm -rf "${work:?}/data/$1"
}

stop_servers() {
  local name
  for name in "${names[@]}"; do stop "$name"; done
  if [ -n "$cgroup" ]; then
    rmdir "$cgroup" 2>/dev/null || true
    cgroup=
  fi
}

add_servers() {
  names=(forgekv)
  if command -v redis-server >/dev/null; then names+=(redis redis-aof); fi
  local rival name address
  for rival in "${rivals[@]}"; do
    name=${rival%%=*} address=${rival#*=}
    names+=("$name")
    IFS=: read -r "host[$name]" "port[$name]" "rival_pid[$name]" <<<"$address"
    pid[$name]=${rival_pid[$name]}
  done
}

written() { awk '/^write_bytes/ { print $2 }' "/proc/${pid[$1]}/io" 2>/dev/null || echo 0; }

# Waits until SERVER writes nothing for two seconds: flushes and compactions of a load are over.
# `settled` says how long that took; after five minutes it goes on anyway.
settle() {
  local before now
  settled=0
  [ -n "${pid[$1]:-}" ] || return 0
  before=$(written "$1")
  for settled in $(seq 2 2 300); do
    sleep 2
    now=$(written "$1")
    [ "$now" = "$before" ] && return 0
    before=$now
  done
}

# ---- Measuring ----

server_version() {
  case $1 in
    forgekv) "$FORGEKV" --version | head -1 ;;
    redis) redis-server --version | cut -d' ' -f1-3 ;;
  esac
}

# Begins a section NAME with a title and a paragraph; its records and its heading start anew.
begin() {
  section=$1
  records=$results/$section.jsonl
  rm -f "$records"
  {
    echo "## $2"
    echo
    echo "$3"
    echo
    echo "<sub>$(date -u +%Y-%m-%d), $origin; $(server_version forgekv); $(server_version redis 2>/dev/null || true); \`$command_line\`; rounds: $rounds of $seconds s</sub>"
    echo
  } >"$results/$section.md"
  echo "== $2" >&2
}

note() { printf '%s\n\n' "$*" >>"$results/$section.md"; }

run_load() { # SERVER WORKLOAD ROUND more flags
  local name=$1 workload=$2 round=$3
  shift 3
  "${pinned_client[@]}" "$load" run --host "${host[$name]}" --port "${port[$name]}" \
    ${pid[$name]:+--pid "${pid[$name]}"} --server "$name" --workload "$workload" --round "$round" \
    --seed $((round * 1000 + RANDOM % 1000)) "$@" >"$work/last.json" || {
    echo "$name, $workload: $(cat "$work/last.json")" >&2
    # Wrong replies are shown in the report; a client that could not go on is not a figure.
    grep -q '"ops"' "$work/last.json" || exit 1
  }
}

# Loads and measures all of the arrays `loads` ("flags") and `measures` ("workload | flags") on the
# servers SERVER…, interleaved.
interleaved() {
  local servers=("$@") server flags measure round turn
  for server in "${servers[@]}"; do
    start "$server"
    for flags in "${loads[@]}"; do
      # shellcheck disable=SC2086
      run_load "$server" load 0 --load true --pipeline "$load_pipeline" $flags
    done
    settle "$server"
  done
  for round in $(seq "$rounds"); do
    for measure in "${measures[@]}"; do
      local workload=${measure%% |*}
      [[ -z $only || $workload =~ $only ]] || continue
      for turn in $(seq 0 $((${#servers[@]} - 1))); do
        # Each round begins with another server.
        server=${servers[$(((turn + round) % ${#servers[@]}))]}
        # shellcheck disable=SC2086
        run_load "$server" "$workload" "$round" --seconds "$seconds" --record "$work/unsorted.jsonl" ${measure#*|}
        echo "$round $server $workload: $(sed 's/.*"ops":\([0-9]*\).*"p999":\([0-9.]*\).*"cpu":\([0-9.]*\).*/\1 op\/s, p99.9 \2 us, \3 us CPU/' "$work/last.json" | cut -c1-80)" >&2
      done
    done
  done
  for server in "${servers[@]}"; do stop "$server"; done
}

# Measures on all servers: together if the machine has twice the memory for BYTES each, otherwise
# one after the other.
measure_all() {
  local bytes=$1 available server measure
  available=$(awk '/^MemAvailable/ { printf "%d", $2 * 1024 }' /proc/meminfo)
  rm -f "$work/unsorted.jsonl"
  if [ $((bytes * ${#names[@]} * 2)) -lt "$available" ]; then
    interleaved "${names[@]}"
  else
    note "Loaded one server at a time: together they would not fit into memory."
    for server in "${names[@]}"; do interleaved "$server"; done
  fi
  collect "${names[@]}"
}

# The records in the order of the workloads and servers, as the report shows them.
collect() {
  local measure server
  [ -f "$work/unsorted.jsonl" ] || return 0
  for measure in "${measures[@]}"; do
    for server in "$@"; do
      grep -F "{\"workload\":\"${measure%% |*}\",\"server\":\"$server\"," "$work/unsorted.jsonl" >>"$records" || true
    done
  done
  rm -f "$work/unsorted.jsonl"
}

pin() { pinned_server=("${server_core[@]}") pinned_client=("${client_core[@]}"); }
unpin() { pinned_server=() pinned_client=(); }

# ---- Sections ----

strings() {
  begin strings "Strings" "$keys keys of 15 bytes, values of 64 bytes, distinct random keys, 50 connections."
  loads=("--op set --keys $keys")
  measures=(
    "GET p1 | --op get --keys $keys --pipeline 1"
    "SET p1 | --op set --keys $keys --pipeline 1"
    "GET p16 | --op get --keys $keys --pipeline 16"
    "SET p16 | --op set --keys $keys --pipeline 16"
  )
  measure_all $((keys * 160))
}

counters() {
  begin counters "Counters" "$keys counters, distinct random keys, 50 connections."
  loads=("--op incr --keys $keys")
  measures=("INCR p16 | --op incr --keys $keys --pipeline 16")
  measure_all $((keys * 100))
}

hashes() {
  begin hashes "Hashes" "$keys hashes of 4 fields with values of 64 bytes, and one hash of $keys fields; 50 connections."
  loads=("--op hset --keys $keys" "--op hset-large --keys $keys")
  measures=(
    "HSET p16 | --op hset --keys $keys --pipeline 16"
    "HGET p16 | --op hget --keys $keys --pipeline 16"
    "HSET large p16 | --op hset-large --keys $keys --pipeline 16"
    "HGET large p16 | --op hget-large --keys $keys --pipeline 16"
  )
  measure_all $((keys * 650))
}

types() {
  begin types "Sorted sets, sets, lists, streams" "One sorted set, one set, one list and one stream of $keys elements, and $keys lists; 50 connections."
  loads=("--op zadd --keys $keys" "--op sadd --keys $keys" "--op lpush-large --keys $keys" "--op xadd --keys $keys" "--op lpush --keys $keys")
  measures=(
    "ZADD large p16 | --op zadd --keys $keys --pipeline 16"
    "ZRANK large p16 | --op zrank --keys $keys --pipeline 16"
    "SADD large p16 | --op sadd --keys $keys --pipeline 16"
    "SISMEMBER large p16 | --op sismember --keys $keys --pipeline 16"
    "LPUSH p16 | --op lpush --keys $keys --pipeline 16"
    "LPUSH large p16 | --op lpush-large --keys $keys --pipeline 16"
    "LINDEX large p16 | --op lindex-large --keys $keys --pipeline 16"
    "XADD p16 | --op xadd --keys $keys --pipeline 16"
  )
  measure_all $((keys * 700))
}

programs() {
  begin programs "Scripts and transactions" "$keys strings of 64 bytes, 50 connections, pipeline 4. EVAL: a script of one GET or SET; EXEC: MULTI, five GET and five SET, EXEC, as one operation; MGET: of ten keys."
  loads=("--op set --keys $keys")
  measures=(
    "EVAL of GET | --op eval-get --keys $keys --pipeline 4"
    "EVAL of SET | --op eval-set --keys $keys --pipeline 4"
    "EXEC of 10 | --op exec --keys $keys --pipeline 4"
    "MGET of 10 | --op mget --keys $keys --pipeline 4"
  )
  measure_all $((keys * 160))
}

messages() {
  local round turn server
  begin messages "Messages" "PUBLISH to 1000 subscribers, an operation is one PUBLISH; and 25 pairs of connections that each push to what the other waits for with BLPOP, an operation is one item handed over."
  measures=("PUBLISH to 1000 |" "BLPOP hand-off |")
  rm -f "$work/unsorted.jsonl"
  for server in "${names[@]}"; do start "$server"; done
  for round in $(seq "$rounds"); do
    for turn in $(seq 0 $((${#names[@]} - 1))); do
      server=${names[$(((turn + round) % ${#names[@]}))]}
      run_messages "$server" "PUBLISH to 1000" "$round" fanout --messages $((seconds * 200))
      run_messages "$server" "BLPOP hand-off" "$round" handoff --seconds "$seconds"
    done
  done
  stop_servers
  collect "${names[@]}"
}

run_messages() { # SERVER WORKLOAD ROUND VERB flags
  local name=$1 workload=$2 round=$3 verb=$4
  shift 4
  [[ -z $only || $workload =~ $only ]] || return 0
  "${pinned_client[@]}" "$load" "$verb" --host "${host[$name]}" --port "${port[$name]}" \
    ${pid[$name]:+--pid "${pid[$name]}"} --server "$name" --workload "$workload" --round "$round" \
    --record "$work/unsorted.jsonl" "$@" >"$work/last.json"
  echo "$round $name $workload: $(cut -c1-160 "$work/last.json")" >&2
}

kilobyte() {
  begin kilobyte "Values of 1 KB" "$keys keys, values of 1024 random bytes, 50 connections."
  loads=("--op set --keys $keys --value-size 1024")
  measures=(
    "GET 1 KB p1 | --op get --keys $keys --value-size 1024 --pipeline 1"
    "SET 1 KB p1 | --op set --keys $keys --value-size 1024 --pipeline 1"
    "GET 1 KB p16 | --op get --keys $keys --value-size 1024 --pipeline 16"
    "SET 1 KB p16 | --op set --keys $keys --value-size 1024 --pipeline 16"
  )
  measure_all $((keys * 1300))
}

millions() {
  begin millions "Ten million keys" "$many keys of 15 bytes, values of 64 bytes, 50 connections."
  loads=("--op set --keys $many")
  measures=(
    "GET, $many keys, p16 | --op get --keys $many --pipeline 16"
    "SET, $many keys, p16 | --op set --keys $many --pipeline 16"
    "GET, $many keys, Zipf, p16 | --op get --keys $many --pipeline 16 --distribution zipf"
  )
  measure_all $((many * 160))
}

# A memory cgroup of BYTES, page cache included, version 2 or 1; false if none can be made.
make_cgroup() {
  local root=/sys/fs/cgroup own
  if [ -f "$root/cgroup.subtree_control" ] && grep -qw memory "$root/cgroup.subtree_control"; then
    cgroup=$root/forgekv-benchmark-$$
    mkdir "$cgroup" 2>/dev/null && echo "$1" >"$cgroup/memory.max" && return 0
  elif [ -d "$root/memory" ]; then
    own=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)
    [ -d "$root/memory$own" ] || own=
    cgroup=$root/memory${own%/}/forgekv-benchmark-$$
    mkdir "$cgroup" 2>/dev/null && echo "$1" >"$cgroup/memory.limit_in_bytes" && return 0
  fi 2>/dev/null
  cgroup=
  return 1
}

large() {
  local limit=$((budget_mb * 3 / 2)) value=1000 count server shown waited round measure
  count=$((budget_mb * 10 * 1048576 / value))
  begin large "Data ten times the memory budget" \
    "$count keys with values of $value random bytes ($((budget_mb * 10)) MiB) at maxmemory ${budget_mb}mb, in a memory cgroup of $limit MiB that includes the page cache; 16 connections, pipeline 1. Redis can't hold this and has no column."
  measures=(
    "load | "
    "GET uniform | --op get --distribution uniform"
    "GET Zipf 0.99 | --op get --distribution zipf"
    "half SET, half GET, uniform | --op mix --distribution uniform"
  )
  if ! make_cgroup $((limit * 1048576)); then
    note "Not measured: no memory cgroup could be made here."
    return
  fi
  local shape="--keys $count --value-size $value --clients 16"
  rm -f "$work/unsorted.jsonl"
  # Rivals run in a limit that their owner has set, if any.
  for server in forgekv "${!rival_pid[@]}"; do
    start "$server" --maxmemory "${budget_mb}mb"
    # shellcheck disable=SC2086
    run_load "$server" load 1 --load true --op set --pipeline 16 $shape --record "$work/unsorted.jsonl"
    settle "$server"
    waited=$settled
    for round in $(seq "$rounds"); do
      for measure in "${measures[@]:1}"; do
        [[ -z $only || ${measure%% |*} =~ $only ]] || continue
        # shellcheck disable=SC2086
        run_load "$server" "${measure%% |*}" "$round" --seconds "$seconds" $shape ${measure#*|} --record "$work/unsorted.jsonl"
        echo "$round $server ${measure%% |*}: $(cut -c1-160 "$work/last.json")" >&2
      done
    done
    if [ "$server" = forgekv ]; then
      shown=$(sed -n 's/.*"server":"forgekv".*"peak_anonymous":\([0-9.]*\).*/\1/p' "$work/unsorted.jsonl" | sort -n | tail -1)
      note "RssAnon of forgekv at its highest: ${shown%.*} MiB, of maxmemory $budget_mb MiB. Of the cgroup, page cache included: $(($(cat "$cgroup/memory.peak" "$cgroup/memory.max_usage_in_bytes" 2>/dev/null | head -1) / 1048576)) MiB of $limit; killed for memory: $(cat "$cgroup/memory.events" "$cgroup/memory.oom_control" 2>/dev/null | awk '$1 == "oom_kill" { print $2 }') times. Data on disk: $(du -sm "$work/data/forgekv" | cut -f1) MiB. It wrote on for $waited s after the load, before the reads began."
    fi
    stop "$server"
  done
  stop_servers
  collect forgekv "${!rival_pid[@]}"
}

# One run of memtier_benchmark as a record: SERVER WORKLOAD ROUND and its flags.
run_memtier() {
  local name=$1 workload=$2 round=$3 before=0 after=0 wrote=0 flags=()
  shift 3
  if [ -n "${pid[$name]:-}" ]; then before=$(cpu_seconds "$name") wrote=$(written "$name"); fi
  "${pinned_client[@]}" "$memtier" -s "${host[$name]}" -p "${port[$name]}" --hide-histogram \
    --distinct-client-seed --randomize --key-prefix memtier- --json-out-file "$work/memtier.json" \
    "$@" >"$work/memtier.log" 2>&1 || { tail -3 "$work/memtier.log" >&2; exit 1; }
  if [ -n "${pid[$name]:-}" ]; then
    after=$(cpu_seconds "$name")
    flags=(--cpu-seconds "$(awk "BEGIN { print $after - $before }")"
      --written-bytes $(($(written "$name") - wrote))
      --resident "$(awk '/^VmRSS/ { print $2 / 1024 }' "/proc/${pid[$name]}/status")")
  fi
  "$load" memtier --json "$work/memtier.json" --server "$name" --workload "$workload" \
    --round "$round" --record "$work/unsorted.jsonl" "${flags[@]}" >"$work/last.json"
}

cpu_seconds() { sed 's/.*) //' "/proc/${pid[$1]}/stat" | awk '{ print ($12 + $13) / 100 }'; }

# The four rows of the product's first page: SET, 64 bytes, pipeline 16.
seed() {
  local client="benchmark/load (no memtier_benchmark here)" threads clients round turn server
  [ -z "$memtier" ] || client="memtier_benchmark"
  begin seed "SET on all cores" \
    "SET of 64-byte values, pipeline 16, t client threads with c connections each, by $client; server and client share the machine's $(nproc) cores, nobody is pinned."
  unpin
  rm -f "$work/unsorted.jsonl"
  measures=("t=1 c=10 |" "t=1 c=20 |" "t=2 c=10 |" "t=2 c=20 |")
  for server in "${names[@]}"; do start "$server"; done
  for round in $(seq "$rounds"); do
    for measure in "${measures[@]}"; do
      local workload=${measure%% |*}
      [[ -z $only || $workload =~ $only ]] || continue
      threads=${workload:2:1} clients=${workload##*=}
      for turn in $(seq 0 $((${#names[@]} - 1))); do
        server=${names[$(((turn + round) % ${#names[@]}))]}
        if [ -n "$memtier" ]; then
          run_memtier "$server" "$workload" "$round" -t "$threads" -c "$clients" --pipeline 16 \
            --ratio 1:0 -d 64 --key-maximum "$keys" --test-time "$seconds"
        else
          run_load "$server" "$workload" "$round" --op set --keys "$keys" --threads "$threads" \
            --clients "$clients" --pipeline 16 --seconds "$seconds" --record "$work/unsorted.jsonl"
        fi
        echo "$round $server $workload: $(cut -c1-160 "$work/last.json")" >&2
      done
    done
  done
  stop_servers
  collect "${names[@]}"
  pin
}

# One run of redis-benchmark as a record: SERVER WORKLOAD ROUND REQUESTS and its flags.
run_redis_benchmark() {
  local name=$1 workload=$2 round=$3 requests=$4 before=0 after=0 cpu=null line
  shift 4
  [ -z "${pid[$name]:-}" ] || before=$(cpu_seconds "$name")
  line=$("${pinned_client[@]}" redis-benchmark -h "${host[$name]}" -p "${port[$name]}" --csv \
    -c 50 -r "$keys" -n "$requests" "$@" | tail -1)
  if [ -n "${pid[$name]:-}" ]; then
    after=$(cpu_seconds "$name")
    cpu=$(awk "BEGIN { print ($after - $before) * 1e6 / $requests }")
  fi
  # test, requests/s, then avg, min, p50, p95, p99, max in milliseconds; the test's name may hold commas.
  sed 's/^"[^"]*",//' <<<"$line" | tr -d '"' | awk -F, -v name="$name" -v workload="$workload" \
    -v round="$round" -v n="$requests" -v cpu="$cpu" '{
      printf "{\"workload\":\"%s\",\"server\":\"%s\",\"round\":%d,\"seconds\":%f,\"requests\":%d,\"ops\":%f,\"p50\":%f,\"p99\":%f,\"max\":%f,\"cpu\":%s,\"errors\":0,\"wrong\":0,\"missing\":0}\n",
        workload, name, round, n / $1, n, $1, $4 * 1000, $6 * 1000, $7 * 1000, cpu }' |
    tee "$work/last.json" >>"$work/unsorted.jsonl"
}

cross() {
  local value round turn server requests
  value=$(printf 'x%.0s' $(seq 64))
  begin cross "The same by other clients" \
    "redis-benchmark$([ -z "$memtier" ] || echo " and memtier_benchmark"), 50 connections, $keys random keys, 64-byte values: a second opinion on the figures above. redis-benchmark has no p99.9."
  measures=()
  declare -A redis_flags=(
    ["redis-benchmark SET p16"]="-P 16 SET key:__rand_int__ $value"
    ["redis-benchmark GET p16"]="-P 16 GET key:__rand_int__"
    ["redis-benchmark INCR p16"]="-P 16 INCR cnt:__rand_int__"
    ["redis-benchmark HSET p16"]="-P 16 HSET hsh:__rand_int__ field $value"
    ["redis-benchmark HGET p16"]="-P 16 HGET hsh:__rand_int__ field"
    ["redis-benchmark SET p1"]="-P 1 SET key:__rand_int__ $value"
    ["redis-benchmark GET p1"]="-P 1 GET key:__rand_int__"
  )
  if command -v redis-benchmark >/dev/null; then
    for workload in "SET p16" "GET p16" "INCR p16" "HSET p16" "HGET p16" "SET p1" "GET p1"; do
      measures+=("redis-benchmark $workload |")
    done
  fi
  if [ -n "$memtier" ]; then
    measures+=("memtier SET p16 |" "memtier GET p16 |" "memtier SET p1 |" "memtier GET p1 |")
  fi
  rm -f "$work/unsorted.jsonl"
  for server in "${names[@]}"; do
    start "$server"
    if [ -n "$memtier" ]; then
      run_memtier "$server" load 0 -t 1 -c 50 --pipeline 16 --ratio 1:0 -d 64 --key-minimum 1 \
        --key-maximum "$keys" --key-pattern P:P -n allkeys
    fi
  done
  for round in $(seq "$rounds"); do
    for measure in "${measures[@]}"; do
      local workload=${measure%% |*} pipeline
      [[ -z $only || $workload =~ $only ]] || continue
      pipeline=${workload##*p}
      for turn in $(seq 0 $((${#names[@]} - 1))); do
        server=${names[$(((turn + round) % ${#names[@]}))]}
        case $workload in
          memtier*)
            local ratio=1:0
            [[ $workload == *GET* ]] && ratio=0:1
            run_memtier "$server" "$workload" "$round" -t 1 -c 50 --pipeline "$pipeline" --ratio "$ratio" \
              -d 64 --key-minimum 1 --key-maximum "$keys" --test-time "$seconds" ;;
          *)
            # About as long as the others take: 400 K a second with a pipeline, 100 K without.
            requests=$((seconds * (pipeline == 16 ? 400000 : 100000)))
            # shellcheck disable=SC2086
            run_redis_benchmark "$server" "$workload" "$round" "$requests" ${redis_flags[$workload]} ;;
        esac
        echo "$round $server $workload: $(cut -c1-160 "$work/last.json")" >&2
      done
    done
  done
  stop_servers
  collect "${names[@]}"
}

# ---- The report ----

all_sections="strings counters hashes types programs messages kilobyte millions large seed cross"

write_report() {
  local section files=()
  {
    echo "# Benchmark results"
    echo
    echo "Written by \`benchmark/run.sh\`; each section names the commit and the command that made it."
    echo
    echo "* Machine: $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo); $(uname -sr); $(. /etc/os-release && echo "$PRETTY_NAME")."
    echo "* The server is pinned to one core and the client to another, unless the section says otherwise. All servers of a section run interleaved over the rounds; each figure is the median of the rounds, each ratio the median of the rounds' ratios (ours over theirs: more is better for ops/s, less for CPU)."
    echo "* CPU: user and system time of the server's process, all threads, over the commands. Written and read: what the process caused at the storage layer, over the commands. RSS: at the end of a run, mapped files included."
    echo "* \`forgekv\` runs with \`forgekv.conf\` as shipped (EverySecond); \`redis\` without persistence; \`redis-aof\` with AOF, everysec."
    echo "* Client: benchmark/load, which compares every value read with what the key must have."
    echo
    for section in $all_sections; do
      [ -s "$results/$section.md" ] || continue
      cat "$results/$section.md"
      if [ -s "$results/$section.jsonl" ]; then
        "$load" report "$results/$section.jsonl"
        files+=("$results/$section.jsonl")
      fi
    done
    [ ${#files[@]} -eq 0 ] || "$load" report --budgets benchmark/budgets.tsv "${files[@]}"
    # Figures of other harnesses, written by hand or by them.
    cat benchmark/notes/*.md 2>/dev/null || true
  } >"$output.new"
  mv "$output.new" "$output"
  echo "$output"
}

if [ -z "$report" ]; then
  add_servers
  pin
  for section in $sections; do
    [[ " $all_sections " == *" $section "* ]] || { echo "there is no section $section" >&2; exit 2; }
    "$section"
  done
fi
write_report
