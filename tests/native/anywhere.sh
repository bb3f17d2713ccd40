#!/bin/sh
# The trees of test_trees.c, by the library and the guard of the system that this runs on. Argument: the Python that treeguard
# is installed for.
set -eu
cd "$(dirname "$0")/../.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"${CC:-cc}" -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror tests/native/test_trees.c \
	$("$1" -c 'import build_ffi; print(*build_ffi.core_sources())') -o "$out/test_trees"
"$out/test_trees" "$("$1" -c 'from treeguard._core.native import GUARD; print(GUARD)')"
