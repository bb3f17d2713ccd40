"""Prints the requirements of an extra of the installed package, for pip: ``python extra.py test``.

``pip install .[test]`` would build the package once more.
"""

import re
import sys
from importlib.metadata import requires


def main(extra: str) -> None:
    """One a line. An extra that stands for another one of ours is left out: that was installed before."""
    for requirement in requires("treeguard") or ():
        wanted, _, marker = requirement.partition(";")
        rest, found = re.subn(rf"""(^| and )\s*extra == ["']{extra}["']""", "", marker.strip())
        if found and not wanted.startswith("treeguard"):
            print(f"{wanted.strip()} ; {rest}" if rest else wanted.strip())


if __name__ == "__main__":
    main(sys.argv[1])
