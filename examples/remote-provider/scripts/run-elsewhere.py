#!/usr/bin/env python3
"""run-elsewhere.py COMMAND: runs a command line in the place that upload.sh filled; prints all at the end."""
import os
import subprocess
import sys

result = subprocess.run(
    sys.argv[1],
    shell=True,
    cwd=os.environ["ELSEWHERE"],
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
)
print(result.stdout)
print(result.stderr, file=sys.stderr)
sys.exit(result.returncode)
