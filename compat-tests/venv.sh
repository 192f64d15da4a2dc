#!/usr/bin/env bash
# A Python environment with packages in it: venv.sh DIRECTORY PACKAGES…
set -euo pipefail
dir=$1
shift
stamp="$*"
[ "$(cat "$dir/installed" 2>/dev/null)" = "$stamp" ] && exit 0
here=$(cd "$(dirname "$0")" && pwd)
python3 -c 'import venv, ensurepip' 2>/dev/null || "$here/../scripts/install.sh" python3 python3-venv
python3 -m venv "$dir"
"$dir/bin/pip" install --quiet --disable-pip-version-check "$@"
echo "$stamp" >"$dir/installed"
