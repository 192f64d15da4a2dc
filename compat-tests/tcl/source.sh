#!/usr/bin/env bash
# Unpacks the source of Debian's Redis 7.0.15 into $1, for its Tcl tests. Nothing of the system's apt
# configuration is changed: sources and lists are private ones in $1.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
into=$1
tree=$into/redis-7.0.15
[ -x "$tree/runtest" ] && { echo "$tree"; exit 0; }
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
"${apt[@]}" update >&2
"${apt[@]}" source --download-only redis >&2
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
for program in redis-server redis-cli redis-benchmark redis-check-aof redis-check-rdb; do
  ln -sf "$(command -v $program)" "$tree/src/$program"
done
echo "$tree"
