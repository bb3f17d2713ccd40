"""A JSON-RPC server on its standard streams, as language and tool servers are. It leaves a helper behind."""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> None:
    """Answers requests, one a line, until it is asked to shut down."""
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    for line in sys.stdin:
        request = json.loads(line)
        method, params = request["method"], request["params"]
        result = params[0] * params[1] if method == "repeat" else None
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
        if method == "shutdown":
            return


if __name__ == "__main__":
    main()
