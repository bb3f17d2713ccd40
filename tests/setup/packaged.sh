#!/bin/sh
# The ways to install and to pack treeguard that leave a file of it behind if nobody sees to it: an editable installation that
# links to each file, and PyInstaller's bundles. Each must contain an escapee. Argument: the Python that it is tried with.
set -eu
python=${1:-python3}
project=$(cd "$(dirname "$0")/../.." && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# What lies about from other builds must not be what is tried.
mkdir "$out/project"
(cd "$project" && tar c --exclude=.venv --exclude=.git --exclude=build --exclude='*.so' --exclude=treeguard-guard .) |
	tar x -C "$out/project"
"$python" -m venv "$out/venv"
bin=$out/venv/bin
pip() { "$bin/python" -m pip --quiet --disable-pip-version-check "$@"; }

cat >"$out/app.py" <<'APP'
import asyncio, os
from treeguard import LocalProcessManager, SpawnParams

async def main():
    reading, writing = os.pipe()
    async with LocalProcessManager(require=("contains_escapees",)) as manager:
        child = await manager.spawn_child(SpawnParams("sh", ("-c", "setsid sleep 60 & exit 3"), pass_fds=(writing,)))
        os.close(writing)
        root = await manager.wait_for_root(child.pid)
        await manager.kill_tree(child.pid)
        empty = await manager.wait_for_exit(child.pid, 10)
        # The escapee held it.
        gone = os.read(reading, 1) == b""
    print(root.code, empty, gone)

asyncio.run(main())
APP
try() { # WHAT COMMAND…
	what=$1
	shift
	told=$(cd / && "$@")
	[ "$told" = "3 True True" ] || { echo "$what: $told" >&2; exit 1; }
	echo "ok $what"
}

for mode in lenient strict; do
	pip install --editable "$out/project" --config-settings "editable_mode=$mode"
	try "editable, $mode" "$bin/python" "$out/app.py"
	pip uninstall --yes treeguard
	rm -f "$out/project/treeguard/treeguard-guard" "$out"/project/treeguard/*.so
done

pip install "$out/project" pyinstaller
try "installed" "$bin/python" "$out/app.py"
bundle() { # NAME OPTION…
	name=$1
	shift
	"$bin/pyinstaller" --log-level ERROR --name "$name" --distpath "$out/dist" --workpath "$out/work" \
		--specpath "$out" "$@" "$out/app.py" >/dev/null
}
bundle directory --onedir
try "PyInstaller, a directory" "$out/dist/directory/directory"
bundle file --onefile
try "PyInstaller, one file" "$out/dist/file"
bundle collected --onedir --collect-all treeguard
try "PyInstaller, everything collected" "$out/dist/collected/collected"
