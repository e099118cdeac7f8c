"""Running a command and knowing what it cost: wall time, CPU of its whole tree, peak memory.

The harness is a child subreaper, so whatever a competitor leaves behind still ends here and is counted.
"""

import ctypes
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence

PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Sample:
    wall: float  # seconds
    cpu: float  # seconds, user and system, of the process and all its descendants
    code: int  # exit code, or minus the signal


def become_subreaper() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _reap_strays() -> float:
    """Waits for everything still below us and returns its CPU seconds."""
    cpu = 0.0
    while True:
        try:
            _, _, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return cpu
        cpu += usage.ru_utime + usage.ru_stime


def run(
    argv: Sequence[str],
    cwd: str,
    env: Optional[Dict[str, str]] = None,
    expect: int = 0,
    watch: Optional[Callable[[int], None]] = None,
    pause: float = 0.003,
    strays: bool = True,
) -> Sample:
    """Runs `argv` with its output thrown away; raises when it does not end with `expect`.

    `watch(pid)` is called every `pause` seconds while it runs. `strays`: waits for all that it leaves running, too,
    which must not be asked for while a server of the harness runs.
    """
    complaints = tempfile.TemporaryFile()
    started = time.monotonic()
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=complaints,
    )
    if watch is None:
        _, status, usage = os.wait4(process.pid, 0)
    else:
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid != 0:
                break
            watch(process.pid)
            time.sleep(pause)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait again
    cpu = usage.ru_utime + usage.ru_stime + (_reap_strays() if strays else 0)
    if process.returncode != expect:
        complaints.seek(0)
        raise SystemExit(
            f"bench: {' '.join(argv)} (in {cwd}) ended with {process.returncode}, expected {expect}: "
            + complaints.read().decode(errors="replace")
        )
    return Sample(wall, cpu, process.returncode)


def side_by_side(
    runs: Dict[str, Callable[[], Sample]], repeat: int, progress: Callable[[str], None]
) -> Dict[str, List[Sample]]:
    """One warm-up of each, then A B C A B C …, so that a slow minute of the machine hits all alike."""
    for name, call in runs.items():
        progress(f"{name}: warm-up")
        call()
    samples: Dict[str, List[Sample]] = {name: [] for name in runs}
    for turn in range(repeat):
        for name, call in runs.items():
            sample = call()
            samples[name].append(sample)
            progress(f"{name}: {turn + 1}/{repeat}: {sample.wall:.3f} s, CPU {sample.cpu:.3f} s")
    return samples


def median_wall(samples: List[Sample]) -> float:
    return statistics.median(sample.wall for sample in samples)


def median_cpu(samples: List[Sample]) -> float:
    return statistics.median(sample.cpu for sample in samples)


# ------------------------------------------------------------------------------------------ /proc


def peak_memory(pid: int) -> int:
    """Peak resident bytes of one process since its exec; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def children(pid: int) -> List[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def command_line(pid: int) -> List[str]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def processes_with(mark: str) -> List[int]:
    """Every process alive whose environment holds `mark`; zombies have none."""
    found = []
    needle = mark.encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if needle in file.read():
                    found.append(int(entry))
        except OSError:
            continue
    return found


class HostMemory:
    """Peak resident memory of a runner process and of its agent, watched from outside."""

    def __init__(self) -> None:
        self.host = 0
        self.agent = 0

    def __call__(self, pid: int) -> None:
        self.host = max(self.host, peak_memory(pid))
        for child in children(pid):
            if "agent" in command_line(child)[1:2]:
                self.agent = max(self.agent, peak_memory(child))
