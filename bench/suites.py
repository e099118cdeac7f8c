"""The suites that the cases run, written into a temporary folder."""

import os
import subprocess
from typing import Optional

# Where `./dev setup --all` puts the tools that no package brings.
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "runner-dev")

# Burns CPU, not time: the cost is the same however many processes share a core.
BURN = """\
import time
_end = time.process_time() + 0.020
while time.process_time() < _end:
    pass

"""


def write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def pytest_suite(folder: str, files: int, tests: int, head: str = "", body: str = "pass") -> None:
    """`tests` tests spread over `files` files below folder/tests."""
    per_file, rest = divmod(tests, files)
    for number in range(files):
        count = per_file + (1 if number < rest else 0)
        functions = "".join(f"def test_{i:05d}():\n    {body}\n\n\n" for i in range(count))
        write(f"{folder}/tests/test_{number:03d}.py", head + functions)
    write(f"{folder}/pytest.ini", "[pytest]\naddopts = -p no:cacheprovider\n")


def config(folder: str, framework: str, slots: int, name: str = "runner.lua") -> str:
    """A runner config with one group, `framework` as Lua; returns its path."""
    path = f"{folder}/{name}"
    used = framework.split(" ", 1)[0]
    write(
        path,
        f"""\
local {used} = require "frameworks.{used}"
return {{
  max_parallel = {slots},
  groups = {{ all = {framework} }},
  report = {{ dir = "results-{name}" }},
}}
""",
    )
    return path


def pytest_framework(isolation: Optional[str] = None) -> str:
    more = f', isolation = "{isolation}"' if isolation else ""
    return f'pytest {{ paths = {{ "tests" }}, python = "/usr/bin/python3"{more} }}'


def ctest_suite(folder: str, count: int, program: str) -> None:
    """What CMake would generate: ctest reads it as it is."""
    lines = (f'add_test([=[true_{i}]=] "{program}")\n' for i in range(count))
    write(f"{folder}/CTestTestfile.cmake", "".join(lines))


TREE_FILE = "folder_{folder:02d}/file_{file:02d}.txt"


def git_tree(folder: str, files: int) -> str:
    """A repository of `files` files of 3 kB, no two alike, in folders of 50; returns its path."""
    for number in range(files):
        path = TREE_FILE.format(folder=number // 50, file=number % 50)
        write(f"{folder}/{path}", f"{path}: line of text\n" * 75)
    for argv in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(argv, cwd=folder, check=True)
    return folder
