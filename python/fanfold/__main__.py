"""`python -m fanfold` runs the program."""

from __future__ import annotations

import os
import subprocess
import sys

from ._program import find_program


def main() -> None:
    command = [str(find_program()), *sys.argv[1:]]
    if os.name == "nt":
        # Windows cannot replace the process.
        sys.exit(subprocess.run(command, check=False).returncode)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
