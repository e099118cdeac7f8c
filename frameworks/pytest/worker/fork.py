"""isolation = "test": each test runs in a fork of the slot."""
import atexit
import json
import mmap
import os
import resource
import select
import signal
import struct
import time
import traceback

from runner_worker import coverage
from runner_worker.control import encode, high_fd
from runner_worker.exits import reset_exit_handlers
from runner_worker.item import run_item
from runner_worker.stacks import DUMP_SIGNAL
from runner_worker.text import TEXT_LIMIT

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
DUMP_PATIENCE_S = 0.15
DEFAULT_GRACE_S = 10
EXIT_PATIENCE = 20, 0.005  # times, seconds: processes on their way out are no leaks
LENGTH = struct.Struct("=I")


def load_prctl():
    try:
        import ctypes

        return ctypes.CDLL(None).prctl
    except Exception:
        return lambda *arguments: -1


def signal_group(pid, number):
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, number)
        except OSError:
            pass


def children():
    try:
        with open("/proc/self/task/%d/children" % os.getpid()) as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def command_line(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return file.read(4096).rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def crashed(token, status, duration):
    result = {"done": token, "status": "crashed", "duration": duration}
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = "signal %d" % number
        result.update(signal=number, message="the test's process was ended by %s" % name)
    else:
        code = os.WEXITSTATUS(status)
        result.update(exit_code=code,
                      message="the test's process exited with status %d before its end" % code)
    return result


class Forks:
    def __init__(self, slot):
        self.slot = slot
        self.shared = mmap.mmap(-1, 4 * TEXT_LIMIT)
        self.prctl = load_prctl()
        # A test's orphans become ours to see and end.
        self.adopts = self.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        ends = os.pipe()
        self.wake, wake_end = (high_fd(fd) for fd in ends)
        for fd in ends:
            os.close(fd)
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_end, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        self.poll = select.poll()
        self.poll.register(self.wake, select.POLLIN)
        self.poll.register(slot.control.socket, select.POLLIN)

    def run(self, token, item):
        """Returns the line to send."""
        LENGTH.pack_into(self.shared, 0, 0)
        self.slot.stopping = None
        started = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            self.child(token, item)
        status, usage = self.wait(pid, token)
        leaks = self.end_leftovers(pid)
        length, = LENGTH.unpack_from(self.shared)
        if length and status == 0:
            line = self.shared[LENGTH.size : LENGTH.size + length]
            if not leaks:
                return line
            result = json.loads(line)
        else:
            result = crashed(token, status, time.perf_counter() - started)
            result["cpu"] = usage.ru_utime + usage.ru_stime
            result["memory"] = usage.ru_maxrss * 1024
        if leaks:
            result["leaks"] = leaks
        return encode(result)

    def child(self, token, item):
        """In the fork; never returns. The result waits in shared memory until we are gone."""
        try:
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            reset_exit_handlers()
            coverage.start(item.config)
            line = run_item(self.slot.outcome, token, item, None)
            coverage.finish(item.config)
            atexit._run_exitfuncs()
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            line = line[:-2] + b',"memory":%d}\n' % memory
            self.slot.output.restore()
            if LENGTH.size + len(line) > len(self.shared):
                line = encode({"done": token, "status": json.loads(line)["status"],
                               "message": "the test's report is too long"})
            self.shared[LENGTH.size : LENGTH.size + len(line)] = line
            LENGTH.pack_into(self.shared, 0, len(line))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(70)

    def wait(self, pid, token):
        """Wait for the test's process; the host may want it stopped in the meantime."""
        slot, steps, deadline, gone = self.slot, None, None, False
        while True:
            done, status, usage = os.wait4(pid, os.WNOHANG)
            if done:
                return status, usage
            timeout = None if deadline is None else max(0, (deadline - time.monotonic()) * 1000)
            for fd, _ in self.poll.poll(timeout):
                if fd == self.wake:
                    os.read(self.wake, 4096)
                else:
                    slot.receive(False)
            if slot.control.lost and not gone:
                gone = True
                self.poll.unregister(slot.control.socket)
                signal_group(pid, signal.SIGKILL)
            if steps is None and slot.stopping and slot.stopping["stop"] == token:
                grace = slot.stopping.get("grace", DEFAULT_GRACE_S)
                steps = iter([(DUMP_SIGNAL, DUMP_PATIENCE_S), (signal.SIGTERM, grace),
                              (signal.SIGKILL, 3600)])
                deadline = 0
            if deadline is not None and time.monotonic() >= deadline:
                number, seconds = next(steps)
                deadline = time.monotonic() + seconds
                if number == DUMP_SIGNAL:
                    os.kill(pid, number)
                else:
                    signal_group(pid, number)

    def end_leftovers(self, pid):
        """Kill what the test left running; tell what it was."""
        leaks, (patience, pause) = {}, EXIT_PATIENCE
        while self.adopts:
            try:
                ended, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if ended:
                continue
            if patience:
                patience -= 1
                time.sleep(pause)
                continue
            for orphan in children():
                leaks.setdefault(orphan, command_line(orphan))
                os.kill(orphan, signal.SIGKILL)
            os.waitpid(-1, 0)
        try:
            os.killpg(pid, signal.SIGKILL)
        except OSError:
            pass
        return [{"pid": orphan, "command": command} for orphan, command in leaks.items()]
