"""The cases of the scheduler: simulated runs against the bound, its own cost, and uneven suites against peers."""

import json
import math
import os
import random
import shutil
import statistics
import subprocess
from dataclasses import dataclass
from typing import Dict, List, Tuple

import measure
import suites
from case import Bench, Row, wall_row

HERE = os.path.dirname(os.path.abspath(__file__))
SLOTS = 2


# ------------------------------------------------------------------------------------------ simulated

GOALS = {
    "with history": 1.02,
    "estimates off by sigma 0.5": 1.05,
    "without history": 1.25,
    "with history, 5 % die, 2 % stall": 1.15,
}
# What the same tests take when they are dealt out beforehand.
PEERS = {
    "estimates off by sigma 0.5": "dealt beforehand, longest first, estimates off",
    "without history": "dealt beforehand, one after the other",
}


def _queue(bench: Bench, *arguments: str) -> List[dict]:
    argv = [bench.runner, "lua", os.path.join(HERE, "schedule.lua"), *arguments]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def simulated(bench: Bench) -> List[Row]:
    """The queue under virtual time, durations log-normal (sigma 2): wall / max(total / sandboxes, longest test)."""
    records = _queue(bench)
    dealt = {(r["tests"], r["case"]): r["ratio"] for r in records if r["kind"] == "static"}
    rows = []
    for r in records:
        if r["kind"] == "simulated":
            peer = PEERS.get(r["case"])
            what = f"{r['tests']:,} tests on {r['sandboxes']:,}, {r['case']} (worst of {r['seeds']} {r['worst']:.2f}×)"
            theirs = f"dealt beforehand {dealt[r['tests'], peer]:.2f}×" if peer else ""
            rows.append(Row("simulated", what, f"{r['ratio']:.3f}×", theirs, r["ratio"], GOALS[r["case"]]))
    return rows


def queue1m(bench: Bench) -> List[Row]:
    """What the queue costs: 1,000,000 tests added, handed to 10,000 slots, started, finished; the items included."""
    taken = []
    for turn in range(bench.repeat):
        taken += _queue(bench, "cpu")
        bench.progress(f"queue: {turn + 1}/{bench.repeat}: {taken[-1]['us_per_test']:.1f} µs of CPU a test")
    cpu = statistics.median(record["us_per_test"] for record in taken)
    memory = statistics.median(record["resident_mb"] for record in taken)
    return [
        Row("queue1m", "CPU for one test", f"{cpu:.1f} µs", "", cpu, 10, unit="µs"),
        Row("queue1m", "peak resident", f"{memory:.0f} MB", "", memory, 1024, unit="MB"),
    ]


# ------------------------------------------------------------------------------------------ what a run says of itself


def _bound(results: str) -> Tuple[float, float]:
    """max(total / slots, longest) over the durations that the run measured, and the longest."""
    total = longest = 0.0
    with open(f"{results}/events.ndjson", encoding="utf-8") as file:
        for line in file:
            event = json.loads(line)
            if event["event"] == "attempt_finished":
                total, longest = total + event["duration"], max(longest, event["duration"])
    return max(total / SLOTS, longest), longest


def _config(bench: Bench, python: str, name: str, more: str = "", suite: str = "", paths: str = "tests") -> str:
    """A configuration with a history of its own, kept between the runs of the case."""
    framework = (
        f'pytest {{ paths = {{ "{paths}" }}, python = "{python}", extra_args = {{ "-p", "no:cacheprovider" }} }}'
    )
    path = f"{bench.folder}/{name}.lua"
    suites.write(
        path,
        f"""\
local pytest = require "frameworks.pytest"
return {{
  max_parallel = {SLOTS}, working_dir = "{suite or bench.folder}",
  groups = {{ all = {framework} }}, {more}
  history = {{ path = "{bench.folder}/{name}-history.jsonl" }}, report = {{ dir = "{bench.folder}/{name}-results" }},
}}
""",
    )
    return path


@dataclass
class Compared:
    """What side-by-side runs of one suite gave: medians."""

    first: float  # wall of our first run, which knew nothing
    wall: float  # of the later ones
    peer: float
    bound: float  # max(total / slots, longest), as measured in the run whose ratio to it is the median
    bound_wall: float  # of that run
    longest: float


PEER = f"pytest -n {SLOTS} --dist worksteal"


def _against_worksteal(bench: Bench, label: str, suite: str, paths: str) -> Compared:
    python = _python()
    config = _config(bench, python, label.split()[0], suite=suite, paths=paths)
    runs: List[Tuple[float, float, float]] = []

    def ours() -> measure.Sample:
        sample = bench.run(config)
        runs.append((sample.wall, *_bound(config[: -len(".lua")] + "-results")))
        return sample

    worksteal = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(SLOTS), "--dist", "worksteal", paths]
    # They take long and hardly differ from run to run. The warm-up fills our history.
    fewer = Bench(bench.runner, bench.folder, min(bench.repeat, 3), bench.progress)
    samples = fewer.compare({f"{label}, runner": ours, PEER: lambda: measure.run(worksteal, suite)})
    middle = sorted(runs[1:], key=lambda run: run[0] / run[1])[(len(runs) - 1) // 2]
    found = Compared(
        first=runs[0][0],
        wall=measure.median_wall(samples[f"{label}, runner"]),
        peer=measure.median_wall(samples[PEER]),
        bound=middle[1],
        bound_wall=middle[0],
        longest=middle[2],
    )
    bench.progress(f"{label}: first run {found.first:.3f} s, second {found.wall:.3f} s, bound {found.bound:.3f} s")
    return found


def _worksteal_rows(
    case: str, label: str, wall: float, peer: float, bound_wall: float, bound: float, goal: float
) -> List[Row]:
    what = f"{label}: wall: second run / {PEER}"
    of_bound = f"{label}: wall / max(total / {SLOTS}, longest) of the durations measured"
    return [
        Row(case, what, f"{wall:.3f} s", f"{peer:.3f} s", wall / peer, goal),
        Row(case, of_bound, f"{bound_wall:.3f} s", f"{bound:.3f} s", bound_wall / bound, 1.1),
    ]


# ------------------------------------------------------------------------------------------ an uneven suite of sleeps

TESTS, FILES = 300, 20
COUNT = """\
import os
import time


def note():
    with open(os.environ["LOG"], "a") as log:
        log.write("x\\n")


"""


def _uneven_suite(folder: str, seed: int) -> None:
    """Sleeps, so that the machine's other work matters little; as uneven as in the simulation, 24 s together."""
    shutil.rmtree(f"{folder}/tests", ignore_errors=True)
    draw = random.Random(seed)
    durations = [draw.lognormvariate(0, 2) for _ in range(TESTS)]
    scale, per_file = 24 / sum(durations), TESTS // FILES
    for number in range(FILES):
        body = COUNT + "".join(
            f"def test_{i:03d}():\n    note()\n    time.sleep({scale * durations[number * per_file + i]:.4f})\n\n\n"
            for i in range(per_file)
        )
        suites.write(f"{folder}/tests/test_{number:03d}.py", body)
    suites.write(f"{folder}/pytest.ini", "[pytest]\naddopts = -p no:cacheprovider\n")


def uneven(bench: Bench) -> List[Row]:
    """Three suites of 300 tests that sleep, log-normal (sigma 2), 24 s each, 2 at a time; pytest-xdist 3.8."""
    found = []
    os.environ["LOG"] = f"{bench.folder}/log"
    try:
        for seed in (1, 2, 3):
            _uneven_suite(bench.folder, seed)
            found.append(_against_worksteal(bench, f"sleeps-{seed}", bench.folder, "tests"))
    finally:
        del os.environ["LOG"]

    def together(field: str) -> float:
        return sum(getattr(one, field) for one in found)

    fields = [together(field) for field in ("wall", "peer", "bound_wall", "bound")]
    return _worksteal_rows("uneven", "all three", *fields, goal=1.0)  # 0.91 is the bound itself


# ------------------------------------------------------------------------------------------ offload

OFFLOAD_VERSION = "0.10.0"
OFFLOAD_CONFIG = """\
[offload]
max_parallel = {slots}
sandbox_repo_root = "{folder}"

[provider]
type = "local"

[framework]
type = "pytest"
command = "/usr/bin/python3 -m pytest"
paths = ["tests"]

[groups.all]
retry_count = {retries}

[report]
output_dir = "results-offload"

[history]
path = "{folder}/offload-history.jsonl"
record_history = "always"
"""


def _offload() -> str:
    """The peer from the crate registry; built once, outside the tree."""
    program = f"{suites.CACHE}/offload/bin/offload"
    if not os.path.exists(program):
        install = ["nice", "cargo", "install", "offload", "--version", OFFLOAD_VERSION, "--locked", "-j1"]
        subprocess.run([*install, "--root", f"{suites.CACHE}/offload"], check=True, stdout=subprocess.DEVNULL)
    return program


def _against_offload(bench: Bench, label: str, retries: int) -> List[Row]:
    program, log = _offload(), f"{bench.folder}/log"
    config = _config(bench, "/usr/bin/python3", f"retries-{retries}", more=f"retries = {retries},")
    settings = OFFLOAD_CONFIG.format(slots=SLOTS, folder=bench.folder, retries=retries)
    suites.write(f"{bench.folder}/offload.toml", settings)
    executed: Dict[str, List[int]] = {"runner": [], "offload": []}

    def counted(name: str, run) -> measure.Sample:
        suites.write(log, "")
        sample = run()
        with open(log, encoding="ascii") as file:
            executed[name].append(len(file.readlines()))
        return sample

    samples = bench.compare(
        {
            "runner": lambda: counted("runner", lambda: bench.run(config, {"LOG": log})),
            "offload": lambda: counted(
                "offload", lambda: measure.run([program, "run"], bench.folder, {"LOG": log})
            ),
        }
    )
    tests = sum(
        line.startswith("def test_")
        for name in os.listdir(f"{bench.folder}/tests") if name.endswith(".py")
        for line in open(f"{bench.folder}/tests/{name}", encoding="ascii")
    )
    each = {name: statistics.median(counts[1:]) / tests for name, counts in executed.items()}
    row = wall_row("offload", samples, "runner", "offload", 0.5)
    row.what = f"{label}, retries {retries}: {row.what}"
    what = f"{label}, retries {retries}, nothing fails: executions per test"
    # A test that did not run at all must not pass for one that ran once.
    value = each["runner"] if each["runner"] >= 1 else math.inf
    return [row, Row("offload", what, f"{each['runner']:.2f}", f"{each['offload']:.2f}", value, 1.0)]


def offload(bench: Bench) -> List[Row]:
    """offload 0.10.0, its local provider, its history warm, 2 at a time; the tests count how often they run."""
    rows: List[Row] = []
    for label, make in {
        "1,000 trivial tests": lambda: suites.pytest_suite(bench.folder, FILES, 1000, head=COUNT, body="note()"),
        "300 uneven sleeps": lambda: _uneven_suite(bench.folder, 1),
    }.items():
        for retries in (0, 1):
            shutil.rmtree(f"{bench.folder}/tests", ignore_errors=True)
            for name in os.listdir(bench.folder):
                if name.endswith("-history.jsonl"):
                    os.unlink(f"{bench.folder}/{name}")
            make()
            rows += _against_offload(bench, label, retries)
    return rows


# ------------------------------------------------------------------------------------------ real suites

PACKAGES = (
    "pytest==9.2.0",
    "pytest-xdist==3.8.0",
    "mpmath==1.4.1",
    "hypothesis==6.170.15",
)
# name of the folder, source distribution and its hash, what is run of it
REAL = (
    (
        "more_itertools-11.2.1",
        "more-itertools==11.2.1 --hash=sha256:cbf08fd0af284dc69718b9b76a8e6203df624d70209ea511e4219d350c856f63",
        "tests",
    ),
    (
        "networkx-3.6.1",
        "networkx==3.6.1 --hash=sha256:26b7c357accc0c8cde558ad486283728b65b6a95d85ee1cd66bafab4c8168509",
        "networkx/algorithms/connectivity",
    ),
    (
        "sympy-1.14.0",
        "sympy==1.14.0 --hash=sha256:d3d3fe8df1e5a0b42f0e7bdf50541697dbe7d23746e894990c030e2b05e72517",
        "sympy/concrete",
    ),
)


def _python() -> str:
    """A Python with a pytest-xdist that can steal work, which the distribution's is too old for."""
    python = f"{suites.CACHE}/suites/venv/bin/python"
    if not os.path.exists(f"{suites.CACHE}/suites/venv/complete"):
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--clear", f"{suites.CACHE}/suites/venv"], check=True)
        subprocess.run([python, "-m", "pip", "-q", "install", *PACKAGES], check=True)
        suites.write(f"{suites.CACHE}/suites/venv/complete", "")
    return python


def _real_suite(name: str, requirement: str) -> str:
    """The unpacked source distribution; fetched once, kept outside the tree."""
    folder = f"{suites.CACHE}/suites/{name}"
    if not os.path.exists(folder):
        wanted = f"{suites.CACHE}/suites/{name}.txt"
        suites.write(wanted, requirement + "\n")
        fetch = [_python(), "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-r", wanted]
        subprocess.run([*fetch, "-d", f"{suites.CACHE}/suites/sdists"], check=True)
        shutil.unpack_archive(f"{suites.CACHE}/suites/sdists/{name}.tar.gz", f"{suites.CACHE}/suites/{name}.new")
        os.rename(f"{suites.CACHE}/suites/{name}.new/{name}", folder)
        os.rmdir(f"{suites.CACHE}/suites/{name}.new")
    return folder


def real_suites(bench: Bench) -> List[Row]:
    """Suites of PyPI packages whose tests take very uneven times, 2 at a time: our second run, pytest-xdist 3.8."""
    rows: List[Row] = []
    for name, requirement, paths in REAL:
        suite = _real_suite(name, requirement)
        where = name.replace("-", " ") + ("" if paths == "tests" else f" ({paths})")
        found = _against_worksteal(bench, name, suite, paths)
        where += f", longest test {found.longest:.1f} s"
        rows += _worksteal_rows("real_suites", where, found.wall, found.peer, found.bound_wall, found.bound, goal=0.9)
    return rows


CASES = (simulated, queue1m, uneven, offload, real_suites)
