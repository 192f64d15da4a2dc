#!/usr/bin/env bash
# Unpacks the source of Debian's Redis 7.0.15 into $1, for its Tcl tests. Nothing of the system's apt
# configuration is changed: sources and lists are private ones in $1.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
into=$1
tree=$into/redis-7.0.15
# A tree is as good as what adapted it.
adapted=$(cksum <"$0")
[ "$(cat "$tree/adapted" 2>/dev/null)" = "$adapted" ] && { echo "$tree"; exit 0; }
"$here/../../scripts/install.sh" tcl redis-server redis-tools dpkg-dev >&2
mkdir -p "$into"/{lists/partial,cache/archives/partial}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# The archives that this system itself installs from, for their sources.
apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' | sort -u |
  while read -r site release; do
    echo "deb-src [signed-by=$keyring] $site $release main"
  done >"$into/sources.list"
apt=(apt-get -qq -o "Dir::Etc::sourcelist=$into/sources.list" -o Dir::Etc::sourceparts=-
  -o "Dir::State::lists=$into/lists" -o "Dir::Cache=$into/cache" -o APT::Sandbox::User=)
cd "$into"
compgen -G 'redis_7.0.15-*.dsc' >/dev/null || {
  "${apt[@]}" update >&2
  "${apt[@]}" source --download-only redis >&2
}
rm -rf "$tree"
dpkg-source --no-check -x redis_7.0.15-*.dsc "$tree" >&2
# The suite clears functions before each unit; a server that has none need not know the command.
sed -i 's/^    r function flush$/    catch {r function flush}/' "$tree/tests/support/server.tcl"
# A large element stands alone here: there is no threshold to set. And every list is a quicklist to these
# tests, however small.
sed -i -e 's/r debug quicklist-packed-threshold [0-9a-z]*/set ok OK/' \
  -e 's/list-max-ziplist-size 1$/list-max-ziplist-size 0/' \
  -e '/"list-max-ziplist-size" 5$/d' "$tree"/tests/unit/type/list*.tcl
# This test counts on the flush at the end of one before it, which may be left out.
sed -i 's/^    test {MOVE basic usage} {$/    r flushdb\n&/' "$tree/tests/unit/keyspace.tcl"
# Scores are compared as numbers, as in the suite of 7.2: its server prints the fewest digits that say the
# same, that of 7.0 always 17.
sed -i -E 's/\[r (zm?score) zscoretest \$i\]/[expr [r \1 zscoretest $i]]/' "$tree/tests/unit/type/zset.tcl"
# Not every directive can be set to the value that it has; the test knows which of Redis's, not of ours.
ours='background_threads block_size disk_reserve_mb io_uring threads wal_segment_size_mb wal_size_mb'
sed -i "s/^            socket-mark-id$/& $ours/" "$tree/tests/unit/introspection.tcl"
for program in redis-server redis-cli redis-benchmark redis-check-aof redis-check-rdb; do
  ln -sf "$(command -v $program)" "$tree/src/$program"
done
echo "$adapted" >"$tree/adapted"
echo "$tree"
