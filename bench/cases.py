"""The cases on this machine, and the list of all: what is run against what, and the goal each row has to meet."""

import os
import shutil
import signal
import statistics
import subprocess
import time
import uuid
from typing import Callable, Dict, List

import cases_cargo
import cases_cpp
import cases_js
import cases_history
import cases_schedule
import measure
import reading
import remote
import suites
from case import MEGABYTE, Bench, Row, cpu_row, wall_row

PYTEST = ["/usr/bin/python3", "-m", "pytest", "-q"]
GIGABYTE = 1024 * MEGABYTE


def trivial1000(bench: Bench) -> List[Row]:
    """1,000 trivial tests in 20 files, 2 workers."""
    suites.pytest_suite(bench.folder, files=20, tests=1000)
    config = suites.config(bench.folder, suites.pytest_framework(), 2)
    samples = bench.compare(
        {
            "runner": lambda: bench.run(config),
            "pytest -n 2": lambda: measure.run([*PYTEST, "-n", "2"], bench.folder),
            "pytest": lambda: measure.run(PYTEST, bench.folder),
        }
    )
    return [
        wall_row("trivial1000", samples, "runner", "pytest -n 2", 0.65),
        wall_row("trivial1000", samples, "runner", "pytest", 0.9),
    ]


def imports(bench: Bench) -> List[Row]:
    """2,000 tests in 200 files whose import costs 20 ms of CPU each, 8 workers."""
    suites.pytest_suite(bench.folder, files=200, tests=2000, head=suites.BURN)
    config = suites.config(bench.folder, suites.pytest_framework(), 8)
    samples = bench.compare(
        {
            "runner": lambda: bench.run(config),
            "pytest -n 8": lambda: measure.run([*PYTEST, "-n", "8"], bench.folder),
        }
    )
    return [
        wall_row("imports", samples, "runner", "pytest -n 8", 0.35),
        cpu_row("imports", samples, "runner", "pytest -n 8", 0.3),
    ]


def isolation_test(bench: Bench) -> List[Row]:
    """A process for every test, one at a time: 500 tests of ours, 40 fresh pytest processes."""
    count, fresh = 500, 40
    suites.pytest_suite(bench.folder, files=1, tests=count)
    config = suites.config(bench.folder, suites.pytest_framework("test"), 1)
    loop = (
        "set -e; i=0; while [ $i -lt %d ]; do "
        '/usr/bin/python3 -m pytest -q "tests/test_000.py::test_$(printf %%05d $i)"; i=$((i + 1)); '
        "done" % fresh
    )
    samples = bench.compare(
        {
            "runner": lambda: bench.run(config),
            "fresh": lambda: measure.run(["/bin/sh", "-c", loop], bench.folder),
        }
    )
    ours = measure.median_wall(samples["runner"]) / count
    theirs = measure.median_wall(samples["fresh"]) / fresh
    return [
        Row(
            "isolation_test",
            "wall per test: a fresh pytest process / isolation = \"test\" (whole run, start included)",
            f"{ours * 1000:.2f} ms",
            f"{theirs * 1000:.1f} ms",
            theirs / ours,
            15,
            at_least=True,
        )
    ]


def true5000(bench: Bench) -> List[Row]:
    """5,000 commands, 2 at a time."""
    count = 5000
    suites.ctest_suite(bench.folder, count, "/bin/true")
    framework = f'command {{ discover_command = "seq {count}", run_command = {{ "/bin/true", "{{tests}}" }} }}'
    config = suites.config(bench.folder, framework, 2)
    xargs = ["/bin/sh", "-c", f"seq {count} | xargs -P2 -n1 /bin/true"]
    samples = bench.compare(
        {
            "runner": lambda: bench.run(config),
            "xargs -P2 -n1": lambda: measure.run(xargs, bench.folder),
            "ctest -j2": lambda: measure.run(["ctest", "-j2"], bench.folder),
        }
    )
    return [
        wall_row("true5000", samples, "runner", "xargs -P2 -n1", 1.0),
        wall_row("true5000", samples, "runner", "ctest -j2", 0.6),
    ]


def startup(bench: Bench) -> List[Row]:
    """How long nothing takes."""
    wider = Bench(bench.runner, bench.folder, max(bench.repeat, 25), lambda _: None)
    samples = wider.compare(
        {
            "runner --version": lambda: measure.run([bench.runner, "--version"], bench.folder),
            "pytest --version": lambda: measure.run([*PYTEST, "--version"], bench.folder),
        }
    )
    ours = measure.median_wall(samples["runner --version"]) * 1000
    theirs = measure.median_wall(samples["pytest --version"]) * 1000
    return [
        Row(
            "startup",
            "runner --version / pytest --version",
            f"{ours:.1f} ms",
            f"{theirs:.0f} ms",
            ours,
            15,
            unit="ms",
        )
    ]


def memory10k(bench: Bench) -> List[Row]:
    """10,000 tests: the host process alone."""
    suites.pytest_suite(bench.folder, files=100, tests=10000)
    config = suites.config(bench.folder, suites.pytest_framework(), 2)
    peaks = []
    for turn in range(bench.repeat):
        memory = measure.HostMemory()
        sample = bench.run(config, watch=memory)
        peaks.append(memory.host)
        bench.progress(
            f"runner: {turn + 1}/{bench.repeat}: {sample.wall:.1f} s, "
            f"host {memory.host / MEGABYTE:.1f} MB, agent {memory.agent / MEGABYTE:.1f} MB"
        )
    peak = statistics.median(peaks) / MEGABYTE
    return [Row("memory10k", "host, peak resident", f"{peak:.1f} MB", "", peak, 60, unit="MB")]


def _largest_file(folder: str) -> int:
    sizes = [
        os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names
    ]
    return max(sizes, default=0)


def output1g(bench: Bench) -> List[Row]:
    """One test that prints 1 GiB, against the same run printing one line."""
    line = "0123456789" * 10
    template = (
        "command {{ discover_command = \"echo loud\", run_command = {{ \"/bin/sh\", \"-c\", "
        "\"yes {line} | head -c {size}\" }} }}"
    )
    quiet = suites.config(
        bench.folder, template.format(line=line, size=len(line) + 1), 1, name="quiet.lua"
    )
    loud = suites.config(bench.folder, template.format(line=line, size=GIGABYTE), 1, name="loud.lua")
    growths, walls = [], []
    for turn in range(bench.repeat):
        before, after = measure.HostMemory(), measure.HostMemory()
        # A quiet run is over before the first look: the grace of a test that waits is not wanted
        # here, so it is repeated until it has been seen.
        while before.host == 0 or before.agent == 0:
            bench.run(quiet, watch=before)
        walls.append(bench.run(loud, watch=after).wall)
        growths.append(after.host + after.agent - before.host - before.agent)
        size = _largest_file(f"{bench.folder}/results-loud.lua")
        if size != GIGABYTE:
            raise SystemExit(f"bench: the log of a test that printed {GIGABYTE} bytes has {size}")
        shutil.rmtree(f"{bench.folder}/results-loud.lua")
        bench.progress(
            f"runner: {turn + 1}/{bench.repeat}: {walls[-1]:.1f} s, "
            f"growth {growths[-1] / MEGABYTE:.1f} MB, log whole"
        )
    growth = statistics.median(growths) / MEGABYTE
    rate = 1024 / statistics.median(walls)
    return [
        Row(
            "output1g",
            f"growth of host and agent, log whole ({rate:.0f} MB/s to the log)",
            f"{growth:.1f} MB",
            "",
            growth,
            32,
            unit="MB",
        )
    ]


# A test that leaves three kinds of company behind: a child, a daemon in a session of its own, and a
# daemon that also closed its pipes and was handed to init.
STUBBORN = """\
trap "" TERM HUP INT
setsid sleep 1000 &
(setsid sh -c 'trap "" TERM HUP; exec sleep 1000' >/dev/null 2>&1 </dev/null &)
sleep 1000
"""
PROCESSES_OF_STUBBORN = 4  # sh, sleep, two daemons


def kill9(bench: Bench) -> List[Row]:
    """SIGKILL of the runner in the middle of 50 running tests with daemons."""
    count = 50
    script = f"{bench.folder}/stubborn.sh"
    with open(script, "w", encoding="ascii") as file:
        file.write(STUBBORN)
    framework = (
        f'command {{ discover_command = "seq {count}", run_command = {{ "/bin/sh", "{script}", "{{tests}}" }} }}'
    )
    config = suites.config(bench.folder, framework, count)
    delays = []
    for turn in range(bench.repeat):
        mark = f"RUNNER_BENCH_MARK={uuid.uuid4()}"
        name, value = mark.split("=")
        process = subprocess.Popen(
            [bench.runner, "run", "-q", config],
            cwd=bench.folder,
            env={**os.environ, name: value},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while len(measure.processes_with(mark)) < count * PROCESSES_OF_STUBBORN + 1:
            if time.monotonic() > deadline or process.poll() is not None:
                process.kill()
                raise SystemExit("bench: kill9: the 50 tests did not start")
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        process.wait()
        while measure.processes_with(mark):
            if time.monotonic() > killed + 30:
                break
            time.sleep(0.005)
        delays.append(time.monotonic() - killed)
        left = measure.processes_with(mark)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        bench.progress(f"runner: {turn + 1}/{bench.repeat}: {delays[-1]:.3f} s, {len(left)} left")
    worst = max(delays)
    return [
        Row(
            "kill9",
            f"until none of {count * PROCESSES_OF_STUBBORN} processes is alive (the worst run)",
            f"{worst:.3f} s",
            "",
            worst,
            1,
            unit="s",
        )
    ]


ALL: Dict[str, Callable[[Bench], List[Row]]] = {
    case.__name__: case
    for case in (
        trivial1000,
        imports,
        isolation_test,
        true5000,
        startup,
        memory10k,
        output1g,
        kill9,
        *cases_history.CASES,
        *cases_schedule.CASES,
        *reading.CASES,
        *cases_cargo.CASES,
        *cases_cpp.CASES,
        *cases_js.CASES,
        *remote.CASES,
    )
}

# Names for several.
GROUPS: Dict[str, List[str]] = {
    "schedule": ["simulated", "queue1m", "history100k", "uneven", "offload", "real_suites"],
}
