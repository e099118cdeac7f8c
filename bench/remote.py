"""The cases whose tests run elsewhere: in containers, and on hosts over SSH."""

import collections
import functools
import json
import os
import shutil
import statistics
import subprocess
from typing import Dict, List

import containers
import hosts
import measure
import suites
from case import Bench, MEGABYTE, Row, need, wall_row
from measure import Sample


# Neither what dockerd nor what sshd starts is below the command, so its CPU is not counted.
_run = functools.partial(measure.run, strays=False, pause=0.02)


def _config(bench: Bench, settings: str, provider: str, framework: str, name: str = "runner.lua") -> str:
    path = f"{bench.folder}/{name}"
    with open(path, "w", encoding="ascii") as file:
        file.write(
            f"""return {{
              {settings}
              provider = require "providers.{provider.split(" ", 1)[0]}" {provider.split(" ", 1)[1]},
              framework = require "frameworks.command" {{ {framework} }},
            }}\n"""
        )
    return path


def _events(bench: Bench) -> List[dict]:
    """What the last run says of itself."""
    with open(f"{bench.folder}/test-results/events.ndjson", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def docker200(bench: Bench) -> List[Row]:
    """200 short commands in 4 containers: runner makes and removes them, the peer finds them running."""
    containers.need()
    commands, slots = 200, 4
    config = _config(
        bench,
        f"max_parallel = {slots}, sync = false,",
        f'docker {{ image = "{containers.IMAGE}" }}',
        f'discover_command = "i=0; while [ $i -lt {commands} ]; do echo $i; i=$((i+1)); done", '
        'run_command = { "/bin/echo", "{tests}" }',
    )
    with containers.daemon(bench.folder) as env:
        names = [f"peer-{i}" for i in range(slots)]
        for name in names:
            argv = ["docker", "run", "-d", "--name", name, containers.IMAGE, "/bin/sleep", "100000"]
            subprocess.run(argv, env=env, check=True, capture_output=True)
        listed = f"{bench.folder}/commands"
        with open(listed, "w", encoding="ascii") as file:
            file.writelines(f"{names[i % slots]} /bin/echo {i}\n" for i in range(commands))
        peer = ["xargs", "-a", listed, "-P", str(slots), "-L", "1", "docker", "exec"]
        samples = bench.compare(
            {
                "runner": lambda: _run([bench.runner, "run", "-q", config], bench.folder, env=env),
                "docker exec": lambda: _run(peer, bench.folder, env=env),
            }
        )
        subprocess.run(["docker", "rm", "-f", *names], env=env, check=True, capture_output=True)
    return [wall_row("docker200", samples, "runner", "docker exec", 0.25)]


class _Killer:
    """Kills some of a run's containers once so many of its tests have ended."""

    def __init__(self, bench: Bench, env: Dict[str, str], count: int, after: int) -> None:
        self.path = f"{bench.folder}/test-results/events.ndjson"
        shutil.rmtree(os.path.dirname(self.path), ignore_errors=True)  # it is looked at before the run writes it
        self.env, self.count, self.after, self.done = env, count, after, False

    def __call__(self, pid: int) -> None:
        if self.done or not os.path.exists(self.path):
            return
        with open(self.path, "rb") as file:
            if file.read().count(b'"attempt_finished"') < self.after:
                return
        argv = ["docker", "ps", "-q", "--filter", "label=runner.run"]
        listed = subprocess.run(argv, env=self.env, check=True, capture_output=True, text=True).stdout.split()
        argv = ["docker", "kill", *listed[: self.count]]
        subprocess.run(argv, env=self.env, check=True, capture_output=True)
        self.done = True


def kill3of10(bench: Bench) -> List[Row]:
    """400 tests that sleep 0.1 s in 10 containers, of which 3 are killed once half of the tests have ended."""
    containers.need()
    tests, sandboxes, killed = 400, 10, 3
    config = _config(
        bench,
        f"max_parallel = {sandboxes}, sync = false,",
        f'docker {{ image = "{containers.IMAGE}" }}',
        f'discover_command = "i=0; while [ $i -lt {tests} ]; do echo $i; i=$((i+1)); done", '
        'run_command = { "/bin/sh", "-c", "exec sleep 0.1", "{tests}" }',
    )
    wrong, repeated = [], []
    with containers.daemon(bench.folder) as env:

        def disturbed() -> Sample:
            killer = _Killer(bench, env, killed, tests // 2)
            sample = _run([bench.runner, "run", "-q", config], bench.folder, env=env, watch=killer)
            kinds: Dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
            for event in _events(bench):
                kinds[event["event"]][event.get("id", "")] += 1
            if kinds["sandbox_lost"].total() != killed:
                raise SystemExit(f"bench: kill3of10: {kinds['sandbox_lost'].total()} sandboxes were lost")
            known = {str(i) for i in range(tests)}
            finished = kinds["test_finished"]
            wrong.append(sum(1 for name in known | set(finished) if finished[name] != 1 or name not in known))
            repeated.append(kinds["attempt_finished"].total() - tests)
            return sample

        samples = bench.compare(
            {
                "3 killed": disturbed,
                "undisturbed": lambda: _run([bench.runner, "run", "-q", config], bench.folder, env=env),
            }
        )
    return [
        wall_row("kill3of10", samples, "3 killed", "undisturbed", 1.5),
        Row(
            "kill3of10",
            f"tests lost or counted twice, of {tests} (the worst run; at most {max(repeated)} had to run again)",
            str(max(wrong)),
            "",
            max(wrong),
            0,
            unit="tests",
        ),
    ]


def _ssh(ssh_config: str, names: List[str], more: str = 'working_dir = "/"') -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    slots = 4 if len(names) == 1 else 1
    return f'ssh {{ hosts = {{ {listed} }}, config_file = "{ssh_config}", slots = {slots}, {more} }}'


def ssh200(bench: Bench) -> List[Row]:
    """200 short commands on one host, 4 at a time; both log in first."""
    hosts.need()
    with hosts.sshd(bench.folder, ["host"]) as ssh_config:
        config = _config(
            bench,
            "max_parallel = 4,",
            _ssh(ssh_config, ["host"]),
            'discover_command = "seq 200", run_command = { "/bin/echo", "{tests}" }',
        )
        ssh = f"ssh -F {ssh_config} -S {bench.folder}/control"
        each = f"seq 200 | xargs -P4 -n1 {ssh} host /bin/echo"
        peer = ["/bin/sh", "-c", f"{ssh} -M -N -f host && {each}; {ssh} -O exit host 2>/dev/null"]
        samples = bench.compare(
            {
                "runner": lambda: _run([bench.runner, "run", "-q", config], bench.folder),
                "ssh with ControlMaster": lambda: _run(peer, bench.folder),
            }
        )
    return [wall_row("ssh200", samples, "runner", "ssh with ControlMaster", 0.2)]


def ssh100(bench: Bench) -> List[Row]:
    """10,000 tests of about 5 ms of CPU each on 100 sandboxes over SSH, all on this machine."""
    hosts.need()
    names = [f"host{i}" for i in range(100)]
    burn = "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done"
    memory, cpu, first, last = [], [], [], []
    with hosts.sshd(bench.folder, names) as ssh_config:
        for turn in range(-1, bench.repeat):  # the first run only brings the agent there
            config = _config(
                bench,
                'test_timeout = "5m", slow_timeout = "none",',
                _ssh(ssh_config, names[:1] if turn < 0 else names),
                f'discover_command = "seq {10 if turn < 0 else 10000}", '
                f'run_command = {{ "/bin/sh", "-c", "{burn}", "{{tests}}" }}',
            )
            peak = measure.HostMemory()
            sample = _run([bench.runner, "run", "-q", config], bench.folder, watch=peak)
            if turn < 0:
                continue
            tests, ready, starts = 0.0, [], []
            for event in _events(bench):
                if event["event"] == "attempt_finished":
                    tests += event["cpu"]
                elif event["event"] == "sandbox_ready":
                    ready.append(event["time"])
                elif event["event"] == "attempt_started":
                    starts.append(event["time"])
            if len(ready) != len(names):
                raise SystemExit(f"bench: ssh100: {len(ready)} sandboxes were ready")
            memory.append(peak.host / MEGABYTE)
            cpu.append(sample.cpu / tests)
            first.append(min(starts) - min(ready))
            last.append(max(ready) - min(ready))
            bench.progress(
                f"runner: {turn + 1}/{bench.repeat}: {sample.wall:.1f} s, host {memory[-1]:.1f} MB, "
                f"{sample.cpu:.2f} s CPU of host, {tests:.1f} s of tests; after the first sandbox the first test "
                f"started in {first[-1]:.2f} s, the last sandbox was ready in {last[-1]:.2f} s"
            )
    m, c = statistics.median(memory), statistics.median(cpu)
    f, t = statistics.median(first), statistics.median(last)
    return [
        Row("ssh100", "host, peak resident", f"{m:.1f} MB", "", m, 100, unit="MB"),
        Row("ssh100", "CPU: host / tests", f"{c * 100:.1f} %", "", c * 100, 15, unit="%"),
        Row(
            "ssh100",
            "from the first sandbox ready: to the first test / to the last sandbox ready",
            f"{f:.3f} s",
            f"{t:.3f} s",
            f / t,
            0.5,
        ),
    ]


def sync5000(bench: Bench) -> List[Row]:
    """A project of 5,000 files (15 MB) on a host that has it: log in, bring what has changed, run one command."""
    hosts.need()
    need("git", "rsync")
    tree = suites.git_tree(f"{bench.folder}/tree", files=5000)
    edited = f"{tree}/{suites.TREE_FILE.format(folder=50, file=25)}"
    sent, ours, theirs = [], [], []
    with hosts.sshd(bench.folder, ["host"]) as ssh_config, hosts.counted(ssh_config) as (counted_config, wire):

        def runner(name: str, sync: str, used: str) -> List[str]:
            config = _config(
                bench,
                f'sync = {sync}, report = {{ dir = "{bench.folder}/test-results" }},',
                _ssh(used, ["host"], ""),
                'tests = { "one" }, run_command = { "/bin/true" }',
                f"tree/{name}.lua",
            )
            return [bench.runner, "run", "-q", config]

        def rsync(used: str) -> List[str]:
            ssh = f"ssh -F {used} -S {bench.folder}/control"
            copy = f"rsync -a --delete --exclude=.git -e '{ssh}' {tree}/ host:copy/"
            line = f"{ssh} -M -N -f host && {copy} && {ssh} host true; {ssh} -O exit host 2>/dev/null"
            return ["/bin/sh", "-c", line]

        def on_the_wire(argv: List[str]) -> int:
            before = wire.sent
            _run(argv, bench.folder)
            return wire.sent - before

        runs = {
            "runner": runner("synced", "true", ssh_config),
            "without sync": runner("plain", "false", ssh_config),
            "rsync -a": rsync(ssh_config),
        }
        samples = bench.compare({name: lambda argv=argv: _run(argv, bench.folder) for name, argv in runs.items()})
        counted, copied = runner("counted", "true", counted_config), rsync(counted_config)
        for turn in range(-1, bench.repeat):  # the first run brings the configuration itself
            with open(edited, "a", encoding="ascii") as file:
                file.write(f"edit {turn}\n")
            wires = on_the_wire(counted), on_the_wire(copied)
            if turn < 0:
                continue
            (event,) = [event for event in _events(bench) if event["event"] == "sync"]
            sent.append(event["sent_bytes"] / os.path.getsize(edited))
            ours.append(wires[0] / 1000)
            theirs.append(wires[1] / 1000)
            bench.progress(
                f"one edit: {turn + 1}/{bench.repeat}: {event['sent_files']} file, {event['sent_bytes']} bytes; "
                f"on the wire: runner {ours[-1]:.1f} kB, rsync {theirs[-1]:.1f} kB"
            )
    size = os.path.getsize(edited)
    added = measure.median_wall(samples["runner"]) - measure.median_wall(samples["without sync"])
    worst = max(sent)
    return [
        Row("sync5000", "wall that the unchanged project adds to a run", f"{added:.3f} s", "", added, 0.3, unit="s"),
        wall_row("sync5000", samples, "runner", "rsync -a", 1.0),
        Row(
            "sync5000",
            "contents sent after one edit / the file (on the wire, all included: "
            f"runner {statistics.median(ours):.0f} kB, rsync {statistics.median(theirs):.0f} kB)",
            f"{worst * size:.0f} bytes",
            f"{size} bytes",
            worst,
            1,
        ),
    ]


CASES = (docker200, kill3of10, ssh200, ssh100, sync5000)
