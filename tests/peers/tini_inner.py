"""Runs tini's inner tests, all of them: ``python tini_inner.py SCRIPT OUTPUT``.

The script stops at the first assertion that fails. Here each is noted, by what was printed before it.
"""

from __future__ import annotations

import ast
import builtins
import json
import sys
from pathlib import Path
from typing import Any


class _Noted(ast.NodeTransformer):
    """Makes calls of the assertions."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        call = ast.Call(ast.Name("note_", ast.Load()), [node.test, ast.Constant(ast.unparse(node.test))], [])
        return ast.copy_location(ast.Expr(call), node)


def main(script: Path, output: Path) -> None:
    """Runs it, and writes the name of each check, and whether it passed."""
    passed: dict[str, bool] = {}
    section = ""

    def note(condition: object, text: str) -> None:
        # What waits in vain asserts False: its caller's line says for what.
        name = f"{section}: {text if text != 'False' else lines[sys._getframe(2).f_lineno - 1].strip()}"
        passed[name] = passed.get(name, True) and bool(condition)

    def show(*words: Any, **options: Any) -> None:
        nonlocal section
        section = " ".join(map(str, words))
        builtins.print(*words, **options)

    lines = script.read_text("utf-8").splitlines()
    tree = ast.fix_missing_locations(_Noted().visit(ast.parse("\n".join(lines))))
    sys.argv = [str(script)]
    try:
        exec(compile(tree, str(script), "exec"), {"__name__": "__main__", "note_": note, "print": show})
    finally:
        output.write_text(json.dumps(passed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
