# Sourced by the runners: starts and stops a server of their own. Sets $port and $server (its pid).

free_port() {
  local candidate
  while candidate=$((20000 + RANDOM % 10000)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null || { echo "$candidate"; return; }
  done
}

# start_server forgekv|redis [flags…]: on a free port, in a new directory, with limited memory.
start_server() {
  local who=$1
  shift
  port=$(free_port)
  server_dir=$(mktemp -d "$work/server-XXXXXX")
  mkdir -p "$server_dir/data"
  local flags=(--port "$port" --bind 127.0.0.1 --dir "$server_dir/data" --enable-debug-command yes)
  if [ "$who" = redis ]; then
    redis-server "${flags[@]}" --save '' --appendonly no "$@" >"$server_dir/printed" 2>&1 &
  else
    local program=${FORGEKV_BIN:-$root/target/release/forgekv}
    (ulimit -v $((16 << 20)) && exec "$program" "${flags[@]}" "$@") >"$server_dir/printed" 2>&1 &
  fi
  server=$!
  trap stop_server EXIT
  local i
  for ((i = 0; i < 300; i++)); do
    { exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'PING\r\n' >&3 && read -r -t 1 reply <&3 && exec 3>&-; } 2>/dev/null &&
      case $reply in +PONG* | -NOAUTH*) return 0 ;; esac
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  echo "the server did not start:"
  tail -5 "$server_dir/printed"
  stop_server
  return 1
}

stop_server() {
  [ -n "${server:-}" ] || return 0
  kill -KILL "$server" 2>/dev/null
  wait "$server" 2>/dev/null
  server=
  rm -rf "$server_dir"
}
