"""What a machine boots: a kernel, and a root file system that serves all of them."""

from __future__ import annotations

import importlib.metadata
import shutil
import struct
import sys
from pathlib import Path

from .cache import kept
from .debian import bootstrap, fetch_kernel, run, run_within
from .machines import Machine

__all__ = ["ROOT", "kernel_of", "root_image"]

_RELEASE, _PYTHON = "bookworm", "3.11"
_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "udev",
    "kmod",
    "procps",
    "python3",
)
#: What would wait for a terminal, or wake up for a network.
_MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@.service",
    "serial-getty@.service",
)
#: Files of ours, on top of Debian's.
_OVERLAY = Path(__file__).parent / "rootfs"
#: The only partition, named by a number in the partition table: disks are found in any order.
_DISK = 0x74726565
ROOT = f"PARTUUID={_DISK:08x}-01"
_MEBIBYTE = 1 << 20
_SIZE = 1024 * _MEBIBYTE


def kernel_of(machine: Machine) -> Path:
    """A kernel image; Debian's for virtual machines need no initial file system and no modules to boot."""
    return kept(
        f"vmlinuz-{machine.release}", machine.release, lambda made, work: fetch_kernel(machine.release, made, work)
    )


def root_image() -> Path:
    """A disk with a small Debian, a user with sessions, and what the tests import but for treeguard itself."""
    overlay = [(str(path.relative_to(_OVERLAY)), _content(path)) for path in sorted(_OVERLAY.rglob("*"))]
    return kept("root", repr((Path(__file__).read_text("utf-8"), overlay, _requirements())), _make_root)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _requirements() -> list[str]:
    """What treeguard and its tests require, of this Python as of the guest's."""
    every = importlib.metadata.requires("treeguard") or []
    return [each.partition(";")[0].strip() for each in every if "extra ==" not in each or 'extra == "test"' in each]


def _make_root(made: Path, work: Path) -> None:
    print("building the root file system: a minute or two", file=sys.stderr)
    bootstrap(_RELEASE, _PACKAGES, work)
    _configure(work)
    _install(work)
    _write_disk(made, work)


def _configure(root: Path) -> None:
    for name in ("etc/machine-id", "etc/fstab"):
        (root / name).write_text("")
    (root / "etc/hostname").write_text("kernels\n")
    for unit in _MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    shutil.copytree(_OVERLAY, root, symlinks=True, dirs_exist_ok=True)
    run_within(root, "useradd", "--create-home", "--uid=1000", "tester")
    (root / "var/lib/systemd/linger").mkdir(exist_ok=True)
    (root / "var/lib/systemd/linger/tester").touch()


def _install(root: Path) -> None:
    """Wheels are taken for the guest's Python, whichever this one is."""
    target = root / "usr/local/lib" / f"python{_PYTHON}" / "dist-packages"
    platforms = [f"--platform={tag}_x86_64" for tag in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    options = ["--quiet", "--python-version", _PYTHON, "--only-binary=:all:", *platforms, "--target", str(target)]
    run(sys.executable, "-m", "pip", "install", *options, *_requirements())
    (target / "cargo.pth").write_text("/cargo\n")
    run_within(root, "python3", "-m", "compileall", "-q", f"/usr/lib/python{_PYTHON}", f"/{target.relative_to(root)}")


def _write_disk(made: Path, root: Path) -> None:
    for name in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"):
        shutil.rmtree(root / name)
    options = ["-q", "-F", "-O", "^has_journal", "-m", "0", "-E", f"offset={_MEBIBYTE}"]
    with made.open("wb") as disk:
        disk.truncate(_SIZE)
    run("mkfs.ext4", *options, "-d", root, made, f"{_SIZE // _MEBIBYTE - 1}M")
    with made.open("r+b") as disk:
        disk.seek(440)
        disk.write(struct.pack("<I", _DISK) + bytes(2))
        # One entry of the partition table: a Linux partition (0x83), by sectors of 512 bytes; no heads and cylinders.
        disk.write(struct.pack("<B3xB3xII", 0, 0x83, _MEBIBYTE // 512, _SIZE // 512 - _MEBIBYTE // 512))
        disk.seek(510)
        disk.write(b"\x55\xaa")
