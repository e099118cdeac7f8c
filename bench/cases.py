"""The cases: what is run against what, and the goal each row has to meet."""

import json
import os
import shutil
import signal
import statistics
import subprocess
import time
import uuid
from dataclasses import dataclass
from typing import Callable, Dict, List

import containers
import hosts
import measure
import suites
from measure import Sample

PYTEST = ["/usr/bin/python3", "-m", "pytest", "-q"]
MEGABYTE = 1024 * 1024
GIGABYTE = 1024 * MEGABYTE


@dataclass
class Row:
    case: str
    what: str
    ours: str
    theirs: str
    value: float  # what is compared with the goal: a ratio, or the figure itself
    goal: float
    unit: str = "×"
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.goal if self.at_least else self.value <= self.goal


@dataclass
class Bench:
    """What every case gets."""

    runner: str
    folder: str
    repeat: int
    progress: Callable[[str], None]

    def run(self, config: str, env: Dict[str, str] = {}, watch=None) -> Sample:  # noqa: B006
        argv = [self.runner, "run", "-q", config]
        return measure.run(argv, self.folder, env, watch=watch)

    def compare(self, runs: Dict[str, Callable[[], Sample]]) -> Dict[str, List[Sample]]:
        return measure.side_by_side(runs, self.repeat, self.progress)


def _wall_row(case: str, samples, ours: str, theirs: str, goal: float) -> Row:
    a, b = measure.median_wall(samples[ours]), measure.median_wall(samples[theirs])
    return Row(case, f"wall: {ours} / {theirs}", f"{a:.3f} s", f"{b:.3f} s", a / b, goal)


def _cpu_row(case: str, samples, ours: str, theirs: str, goal: float) -> Row:
    a, b = measure.median_cpu(samples[ours]), measure.median_cpu(samples[theirs])
    return Row(case, f"CPU: {ours} / {theirs}", f"{a:.2f} s", f"{b:.2f} s", a / b, goal)


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
        _wall_row("trivial1000", samples, "runner", "pytest -n 2", 0.65),
        _wall_row("trivial1000", samples, "runner", "pytest", 0.9),
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
        _wall_row("imports", samples, "runner", "pytest -n 8", 0.35),
        _cpu_row("imports", samples, "runner", "pytest -n 8", 0.3),
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
    framework = f'command {{ discover_command = "seq {count}", run_command = {{ "/bin/true" }} }}'
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
        _wall_row("true5000", samples, "runner", "xargs -P2 -n1", 1.0),
        _wall_row("true5000", samples, "runner", "ctest -j2", 0.6),
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
        f'command {{ discover_command = "seq {count}", run_command = {{ "/bin/sh", "{script}" }} }}'
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


def docker200(bench: Bench) -> List[Row]:
    """200 short commands in 4 containers: runner makes and removes them, the peer finds them running."""
    lacking = containers.missing()
    if lacking:
        bench.progress(f"skipped: it needs {lacking}")
        return []
    commands, slots = 200, 4
    config = f"{bench.folder}/runner.lua"
    with open(config, "w", encoding="ascii") as file:
        file.write(
            f"""return {{
              max_parallel = {slots}, sync = false,
              provider = require "providers.docker" {{ image = "{containers.IMAGE}" }},
              framework = require "frameworks.command" {{
                discover_command = "i=0; while [ $i -lt {commands} ]; do echo $i; i=$((i+1)); done",
                run_command = {{ "/bin/echo", "{{tests}}" }},
              }},
            }}\n"""
        )
    with containers.daemon(bench.folder) as env:

        def timed(*argv: str) -> Sample:
            started = time.monotonic()
            done = subprocess.run(argv, cwd=bench.folder, env=env, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise SystemExit(f"bench: docker200: {argv[0]}: {done.stdout}{done.stderr}")
            return Sample(time.monotonic() - started, 0, 0)  # the daemon's CPU is in neither tree

        names = [f"peer-{i}" for i in range(slots)]
        for name in names:
            argv = ["docker", "run", "-d", "--name", name, containers.IMAGE, "/bin/sleep", "100000"]
            subprocess.run(argv, env=env, check=True, capture_output=True)
        listed = f"{bench.folder}/commands"
        with open(listed, "w", encoding="ascii") as file:
            file.writelines(f"{names[i % slots]} /bin/echo {i}\n" for i in range(commands))
        samples = bench.compare(
            {
                "runner": lambda: timed(bench.runner, "run", "-q", config),
                "docker exec": lambda: timed("xargs", "-a", listed, "-P", str(slots), "-L", "1", "docker", "exec"),
            }
        )
        subprocess.run(["docker", "rm", "-f", *names], env=env, check=True, capture_output=True)
    return [_wall_row("docker200", samples, "runner", "docker exec", 0.25)]


def _ssh_config(bench: Bench, ssh_config: str, names: List[str], settings: str, framework: str) -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    path = f"{bench.folder}/runner.lua"
    with open(path, "w", encoding="ascii") as file:
        file.write(
            f"""return {{
              {settings}
              provider = require "providers.ssh" {{
                hosts = {{ {listed} }}, config_file = "{ssh_config}", slots = {4 if len(names) == 1 else 1},
                working_dir = "/",
              }},
              framework = require "frameworks.command" {{ {framework} }},
            }}\n"""
        )
    return path


def _timed(bench: Bench, *argv: str, watch=None) -> Sample:
    """The CPU is that of the process and of what it waited for; what sshd starts is not below it."""
    started = time.monotonic()
    process = subprocess.Popen(argv, cwd=bench.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    pid, status, usage = os.wait4(process.pid, os.WNOHANG if watch else 0)
    while pid == 0:
        watch(process.pid)
        time.sleep(0.02)
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"bench: {' '.join(argv)}: exit code {process.returncode}")
    return Sample(time.monotonic() - started, usage.ru_utime + usage.ru_stime, 0)


def ssh200(bench: Bench) -> List[Row]:
    """200 short commands on one host, 4 at a time; both log in first."""
    lacking = hosts.missing()
    if lacking:
        bench.progress(f"skipped: it needs {lacking}")
        return []
    with hosts.sshd(bench.folder, ["host"]) as ssh_config:
        config = _ssh_config(
            bench,
            ssh_config,
            ["host"],
            "max_parallel = 4,",
            'discover_command = "seq 200", run_command = { "/bin/echo", "{tests}" }',
        )
        ssh = f"ssh -F {ssh_config} -S {bench.folder}/control"
        each = f"seq 200 | xargs -P4 -n1 {ssh} host /bin/echo"
        peer = ["/bin/sh", "-c", f"{ssh} -M -N -f host && {each}; {ssh} -O exit host 2>/dev/null"]
        samples = bench.compare(
            {
                "runner": lambda: _timed(bench, bench.runner, "run", "-q", config),
                "ssh with ControlMaster": lambda: _timed(bench, *peer),
            }
        )
    return [_wall_row("ssh200", samples, "runner", "ssh with ControlMaster", 0.2)]


def ssh100(bench: Bench) -> List[Row]:
    """10,000 tests of about 5 ms of CPU each on 100 sandboxes over SSH, all on this machine."""
    lacking = hosts.missing()
    if lacking:
        bench.progress(f"skipped: it needs {lacking}")
        return []
    names = [f"host{i}" for i in range(100)]
    burn = "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done"
    memory, cpu, first = [], [], []
    with hosts.sshd(bench.folder, names) as ssh_config:
        for turn in range(-1, bench.repeat):  # the first run only brings the agent there
            config = _ssh_config(
                bench,
                ssh_config,
                names[:1] if turn < 0 else names,
                'test_timeout = "5m", slow_timeout = "none",',
                f'discover_command = "seq {10 if turn < 0 else 10000}", run_command = {{ "/bin/sh", "-c", "{burn}" }}',
            )
            peak = measure.HostMemory()
            sample = _timed(bench, bench.runner, "run", "-q", config, watch=peak)
            if turn < 0:
                continue
            tests, ready, starts = 0.0, [], []
            with open(f"{bench.folder}/test-results/events.ndjson", encoding="utf-8") as file:
                for event in map(json.loads, file):
                    if event["event"] == "attempt_finished":
                        tests += event["cpu"]
                    elif event["event"] == "sandbox_ready":
                        ready.append(event["time"])
                    elif event["event"] == "attempt_started":
                        starts.append(event["time"])
            memory.append(peak.host / MEGABYTE)
            cpu.append(sample.cpu / tests)
            first.append(min(starts) - min(ready))
            bench.progress(
                f"runner: {turn + 1}/{bench.repeat}: {sample.wall:.1f} s, host {memory[-1]:.1f} MB, "
                f"{sample.cpu:.2f} s CPU of host, {tests:.1f} s of tests, {len(ready)} sandboxes, the last "
                f"{max(ready) - min(ready):.2f} s after the first"
            )
    m, c, f = statistics.median(memory), statistics.median(cpu), statistics.median(first)
    return [
        Row("ssh100", "host, peak resident", f"{m:.1f} MB", "", m, 100, unit="MB"),
        Row("ssh100", "CPU: host / tests", f"{c * 100:.1f} %", "", c * 100, 15, unit="%"),
        Row("ssh100", "first sandbox ready to first test", f"{f:.2f} s", "", f, 1, unit="s"),
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
        docker200,
        ssh200,
        ssh100,
    )
}
