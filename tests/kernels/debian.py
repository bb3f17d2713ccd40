"""Debian's packages and systems, from the mirror that this host uses."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

__all__ = ["apt_in", "bootstrap", "fetch_kernel", "mirror", "run", "run_within"]

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_KERNEL = "linux-image-cloud-amd64"
_PATIENCE = 900
#: Mounts and processes of a command that is killed go with it: what it made can be removed without harm to the host.
_APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Runs a command, and returns what it printed. Its complaints are shown if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def run_within(root: Path, *command: str) -> None:
    """Runs a command of another system."""
    run(*_APART, "chroot", root, *command)


@functools.cache
def mirror() -> str:
    """``$DEBIAN_MIRROR``, or what apt has configured for Debian itself."""
    chosen = os.environ.get("DEBIAN_MIRROR")
    if chosen:
        return chosen
    targets = run("apt-get", "indextargets", "--format", "$(LABEL)\t$(REPO_URI)", "Created-By: Packages")
    configured = [uri for label, _, uri in (line.partition("\t") for line in targets.splitlines()) if label == "Debian"]
    return configured[0] if configured else "http://deb.debian.org/debian"


def bootstrap(release: str, packages: tuple[str, ...], target: Path) -> None:
    """Unpacks and configures a small system. Takes root, as chroot does."""
    if os.geteuid() != 0:
        raise SystemExit("test-kernels cannot run: to make the root file system takes root, once")
    if not Path(_KEYRING).exists():
        raise SystemExit(f"test-kernels cannot run: there is no {_KEYRING}; the package is debian-archive-keyring")
    options = ["--variant=minbase", f"--include={','.join(packages)}", f"--keyring={_KEYRING}"]
    run(*_APART, "debootstrap", *options, release, target, mirror())


def apt_in(work: Path, kind: str, release: str, *settings: str) -> list[str]:
    """Options for apt, whose books about a release's ``deb`` or ``deb-src`` are in ``work``, not in the host's."""
    for name in ("state/lists/partial", "cache/archives/partial", "etc/preferences.d"):
        (work / name).mkdir(parents=True)
    (work / "etc" / "sources.list").write_text(f"{kind} [signed-by={_KEYRING}] {mirror()} {release} main\n")
    books = {
        "Dir::State": work / "state",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": work / "cache",
        "Dir::Etc": work / "etc",
        "APT::Sandbox::User": "root",
    }
    options = [
        "-qq",
        *(f"-o{name}={value}" for name, value in books.items()),
        *(f"-o{setting}" for setting in settings),
    ]
    run("apt-get", *options, "update")
    return options


def fetch_kernel(release: str, made: Path, work: Path) -> None:
    """The kernel that a release has for virtual machines."""
    options = apt_in(work, "deb", release, "APT::Architecture=amd64")
    depends = run("apt-cache", *options, "depends", _KERNEL).splitlines()
    package = next(line.partition("Depends: ")[2] for line in depends if "Depends: linux-image-" in line)
    run("apt-get", *options, "download", package, cwd=work)
    (package_file,) = work.glob("*.deb")
    run("dpkg-deb", "--extract", package_file, work / "kernel")
    (image,) = (work / "kernel" / "boot").glob("vmlinuz-*")
    image.rename(made)
