#!/bin/sh
# A first minute on a Debian that has nothing: what the Makefile names as missing is all that README calls enough, with that
# installed the demo runs and the tests pass, and nobody was given a linter for it. Takes root and debootstrap; what is made is
# removed again. PYTEST_ADDOPTS picks among the tests, SUITE among Debian's releases, DEBIAN_MIRROR among its mirrors.
set -eu
project=$(cd "$(dirname "$0")/../.." && pwd)
suite=${SUITE:-bookworm}
say() { echo "bare: $*"; }
fail() { say "$@" >&2; exit 1; }

[ "$(id -u)" -eq 0 ] || fail "takes root, as chroot does"
command -v debootstrap >/dev/null || fail "takes debootstrap: apt-get install debootstrap"
# What is mounted, and what runs, goes with this. A session that began elsewhere would have no number here.
if [ "${BARE_APART:-}" != yes ]; then
	BARE_APART=yes exec unshare --mount --pid --fork --kill-child sh -c 'setsid --wait "$@"; exit $?' sh "$0" "$@"
fi

root=$(mktemp -d)
chmod 755 "$root"
trap 'umount -l "$root/proc" "$root/dev" "$root/sys" 2>/dev/null || :; rm -rf --one-file-system "$root"' EXIT
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
	sed -n 's/^Debian //p' | head -n 1)}
say "debootstrap of $suite"
debootstrap --variant=minbase "$suite" "$root" "${mirror:-http://deb.debian.org/debian}" >"$root.log" 2>&1 ||
	{ tail "$root.log" >&2; rm -f "$root.log"; fail "debootstrap failed"; }
rm -f "$root.log"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind /sys "$root/sys"
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
as_user() { inside setpriv --reuid=1001 --regid=1001 --clear-groups env HOME=/home/somebody "$@"; }
inside useradd --create-home --uid 1001 somebody
# The way to the registries is the host's.
for file in /etc/apt/apt.conf.d/99* /etc/pip.conf /etc/xdg/pip/*; do
	[ -f "$file" ] && { mkdir -p "$root${file%/*}"; cp "$file" "$root$file"; }
done
certificates() { [ ! -f /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"; }

mkdir "$root/home/somebody/treeguard"
(cd "$project" && git ls-files -co --exclude-standard -z | tar c --null -T -) | tar x -C "$root/home/somebody/treeguard"
chown -R 1001:1001 "$root/home/somebody"
enough=$(sed -n 's/^apt-get install //p' "$root/home/somebody/treeguard/README.md")
[ -n "$enough" ] || fail "README names no packages"

# make is what says what is missing.
inside apt-get update -qq
inside apt-get install -qq --no-install-recommends make >/dev/null 2>&1
made() { as_user make --no-print-directory -C /home/somebody/treeguard "$@"; }
told=$(made demo 2>&1 >/dev/null) && fail "make demo ran without a Python"
echo "$told"
named=$(echo "$told" | sed -n 's/.*apt-get install --no-install-recommends //p')
[ -n "$named" ] || fail "make demo named nothing that is missing"
for package in $named; do
	case " $enough " in *" $package "*) ;; *) fail "README does not name $package" ;; esac
done
say "installing what was named: $named"
# Its word is taken as it is: whatever it has not named is not there.
inside apt-get install -qq --no-install-recommends $named >/dev/null 2>&1
certificates
made demo
for linter in ruff mypy pytest; do
	[ ! -e "$root/home/somebody/treeguard/.venv/bin/$linter" ] || fail "make demo has installed $linter"
done
say "installing what README calls enough: $enough"
inside apt-get install -qq $enough >/dev/null 2>&1
certificates
as_user env ${PYTEST_ADDOPTS:+PYTEST_ADDOPTS="$PYTEST_ADDOPTS"} make --no-print-directory -C /home/somebody/treeguard test
say "all is well"
