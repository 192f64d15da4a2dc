#!/bin/sh
# Starts $SERVER_UNDER_TEST with a directory of its own: redis-rs's tests name none, and expect nothing in it.
# The directory is named by the process, so that those of the dead can be removed.
[ "$1" = -v ] && exec "$SERVER_UNDER_TEST" "$@"
for old in "$FRESH"/*; do
  kill -0 "${old##*/}" 2>/dev/null || rm -rf "$old"
done
mkdir -p "$FRESH/$$"
ulimit -v $((16 << 20))
exec "$SERVER_UNDER_TEST" "$@" --dir "$FRESH/$$"
