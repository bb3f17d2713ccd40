#!/bin/sh
# Whether what the targets of the Makefile stand on is there. Names each package that is missing, and the command that
# installs them, before anything is begun. Arguments: the Python that is used, and the C compiler.
set -u
python=${1:-python3}
cc=${2:-cc}
missing=

lacks() { # WHAT PACKAGE: of Debian
	echo "missing: $1 (Debian's package $2)" >&2
	case " $missing " in *" $2 "*) ;; *) missing="$missing $2" ;; esac
}
runs() { "$@" >/dev/null 2>&1; }

if ! runs command -v "$python"; then
	lacks "$python" python3
	# What cannot be asked of an interpreter that is not there is needed with it.
	lacks "its headers" python3-dev
	lacks "its module venv, with pip" python3-venv
elif ! runs "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
	echo "$python is older than 3.10: name another one by PYTHON=…" >&2
	exit 1
else
	runs "$python" -c 'import ensurepip, venv' || lacks "$python's module venv, with pip" python3-venv
	runs "$python" -c 'import sysconfig, pathlib, sys
paths = {sysconfig.get_path(name) for name in ("include", "platinclude")}
sys.exit(not any(pathlib.Path(path, "Python.h").exists() for path in paths))' || lacks "the headers of $python" python3-dev
fi
if ! runs command -v "$cc"; then
	lacks "a C compiler, $cc" gcc
	lacks "the headers of libc" libc6-dev
elif ! echo '#include <stdlib.h>' | runs "$cc" -E -; then
	lacks "the headers of libc" libc6-dev
fi

[ -z "$missing" ] && exit 0
as_root=
[ "$(id -u)" -eq 0 ] || as_root='sudo '
if runs command -v apt-get; then
	echo "to install what is missing:" >&2
	echo "    ${as_root}apt-get install --no-install-recommends$missing" >&2
fi
exit 1
