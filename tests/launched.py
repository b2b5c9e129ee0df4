"""What the launched processes of test_two_processes.py run: the command lines in a JSON file, one after the other."""

import json
import sys
from pathlib import Path

from rung.cli import main

if __name__ == "__main__":
    for command in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        status = main(command)
        if status:
            sys.exit(status)
