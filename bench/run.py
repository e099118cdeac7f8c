"""Measures runner against its peers and writes bench/RESULTS.md: `./dev bench [-n N] [NAME...]`."""

import argparse
import datetime
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from typing import Dict, List

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

import cases  # noqa: E402
import measure  # noqa: E402
from case import Bench, Missing, Row  # noqa: E402

RESULTS = os.path.join(HERE, "RESULTS.md")
HEADER = ["case", "measured", "runner", "peer", "value", "goal", "", "on, runs"]


def progress(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def version(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return f"{argv[0]}: not found"
    return (done.stdout or done.stderr).strip().splitlines()[0]


def pytest_versions() -> str:
    code = (
        "import platform, pytest, xdist; "
        "print('Python', platform.python_version(), '· pytest', pytest.__version__,"
        " '· pytest-xdist', xdist.__version__)"
    )
    return version("/usr/bin/python3", "-c", code)


def machine() -> str:
    model, memory = "unknown processor", 0
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) // (1024 * 1024)
    return f"{len(os.sched_getaffinity(0))} cores ({model}), {memory} GB, Linux {platform.release()}"


def figure(number: float, unit: str) -> str:
    if unit == "×":
        return f"{number:.2f}×" if number < 10 else f"{number:.1f}×"
    return f"{number:.3g} {unit}"


def lines_of(rows: List[Row], repeat: int) -> Dict[str, List[str]]:
    """The lines of the table, by case."""
    today = datetime.date.today().isoformat()
    lines: Dict[str, List[str]] = {}
    for row in rows:
        goal = ("≥ " if row.at_least else "≤ ") + figure(row.goal, row.unit)
        cells = [
            row.case,
            row.what,
            row.ours,
            row.theirs,
            figure(row.value, row.unit),
            goal,
            "met" if row.met else "**missed**",
            f"{today}, {repeat}",
        ]
        lines.setdefault(row.case, []).append("| " + " | ".join(cells) + " |\n")
    return lines


def table(lines: Dict[str, List[str]]) -> str:
    head = "| " + " | ".join(HEADER) + " |\n|" + " --- |" * len(HEADER) + "\n"
    return head + "".join(line for name in cases.ALL for line in lines.get(name, []))


def written() -> Dict[str, List[str]]:
    """The lines that RESULTS.md has by now."""
    lines: Dict[str, List[str]] = {}
    if os.path.exists(RESULTS):
        with open(RESULTS, encoding="utf-8") as file:
            for line in file:
                name = line[2:].split(" | ", 1)[0]
                if line.startswith("| ") and name in cases.ALL:
                    lines.setdefault(name, []).append(line)
    return lines


def report(lines: Dict[str, List[str]], runner: str) -> str:
    described = "".join(f"- `{name}`: {case.__doc__}\n" for name, case in cases.ALL.items() if name in lines)
    versions = [
        version(runner, "--version"),
        pytest_versions(),
        version("ctest", "--version"),
        version("xargs", "--version"),
        version("docker", "--version"),
        version("ssh", "-V"),
        version("rsync", "--version"),
    ]
    return f"""\
# Measurements

Written by `./dev bench`. Everything in a row was measured in the same run of it: one warm-up each, then
in turns (A B A B …), and is the median of so many runs (`startup`: of 25 at least, suites that take long: of 3
at most). CPU is user and system time of the whole process tree; memory is the peak resident size that the
kernel keeps for the process itself.

{table(lines)}
{described}
Machine: {machine()}.
Versions: {"; ".join(versions)}.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--runner", required=True, help="the binary to measure")
    parser.add_argument("-n", "--repeat", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--keep", action="store_true", help="keep the generated suites")
    parser.add_argument("--write", action="store_true", help="put the rows of the measured cases into bench/RESULTS.md")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*cases.GROUPS, *cases.ALL]))
    options = parser.parse_args()
    names = [name for wanted in options.names for name in cases.GROUPS.get(wanted, [wanted])] or list(cases.ALL)
    unknown = [name for name in names if name not in cases.ALL]
    if unknown:
        parser.error(f"unknown case {unknown[0]}; there are {', '.join(cases.ALL)}")

    measure.become_subreaper()
    # Nothing of the caller's may tilt the comparison.
    for name in list(os.environ):
        if name.startswith(("PYTEST_", "PYTHON", "RUNNER_")) or name == "CI":
            del os.environ[name]

    rows: List[Row] = []
    lines = written()
    for name in names:
        print(f"{name}: {cases.ALL[name].__doc__}", file=sys.stderr, flush=True)
        folder = tempfile.mkdtemp(prefix=f"runner-bench-{name}-")
        for cache in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):  # nor may what earlier runs have left
            os.environ[cache] = f"{folder}/{cache}"  # beside the project: what lies in it is part of it
        project = f"{folder}/project"
        os.mkdir(project)
        try:
            bench = Bench(options.runner, project, options.repeat, progress)
            found = cases.ALL[name](bench)
            rows += found
            lines.update(lines_of(found, options.repeat))
        except Missing as what:
            progress(f"skipped: it needs {what}")
        finally:
            if options.keep:
                progress(f"kept in {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)

        if options.write or not options.names:  # after each, for the next may fail
            with open(RESULTS, "w", encoding="utf-8") as file:
                file.write(report(lines, options.runner))

    print(table(lines_of(rows, options.repeat)))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
