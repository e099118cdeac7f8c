"""The pytest side of runner's pytest framework. PYTEST_DONT_REWRITE

This file is put into a sandbox as runner_worker.py and loaded with `-p runner_worker`. It turns
one pytest process into one of these, as the first control message says:

  zygote  collects once, tells what it found, then forks a slot whenever the agent asks for one.
  slot    (a fork of the zygote, or a process of its own: "fresh") takes tests and runs them.

A slot ends by returning from pytest_runtestloop, so that every session hook runs as it does in an
xdist worker; to plug-ins the zygote is the controller and a slot is the worker.

Channels: fd 3 carries JSON lines both ways (control), fd 4 of the zygote the agent's requests to
fork (one datagram: u32 id, with the slot's stdout, stderr and control). A slot's fds 1 and 2 are
pipes; which test wrote what is told by marks in the very pipes (see Outlet).

To zygote  {"mode":"zygote"}  {"template":true}  {"close":true,"failed":n}
From it    {"tests":[[id,name,file,line,[tags]]…]}  {"problem":{…}}  {"log":[level,text]}
           {"ready":{…}}  {"workerinput":{…},"basetemp":path,"refused":why}
           {"coverage":text,"short":bool}  {"bye":{…}}
To slot    {"mode":"slot"|"fresh","slot":{…}}  {"run":[[token,id,attempt,shown id]…]}
           {"take":n}  {"stop":token,"grace":s}  {"close":true}
From it    {"hello":{…}}  {"done":token,…result}  {"unmarked":token}  {"returned":[token…]}
           {"settling":id}  {"settled":true}  {"problem":{…}}  {"log":[level,text]}  {"bye":{…}}
"""
import array
import atexit
import codecs
import collections
import errno
import faulthandler
import fcntl
import gc
import io
import json
import mmap
import os
import re
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import types
import warnings
import weakref

import pytest

CONTROL_FD = 3
FORK_FD = 4
DUMP_SIGNAL = signal.SIGRTMIN + 5
TEXT_LIMIT = 256 * 1024
ENV_LIMIT = 32 * 1024
COLLECTING_THRESHOLD = 100000
UNNAMED_MARKERS = ("parametrize", "usefixtures", "filterwarnings")

# Whatever is in an id or a traceback (lone surrogates), what leaves is UTF-8.
codecs.register_error("runner", lambda e: ("\ufffd" * (e.end - e.start), e.end))


def clip(text, limit=TEXT_LIMIT):
    """Bounded text: its head and its tail."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return "%s\n… %d characters left out …\n%s" % (text[:half], len(text) - limit, text[-half:])


def first_line(text):
    for line in text.splitlines():
        if line.strip():
            return clip(line.strip(), 1000)
    return ""


def printable(text):
    """The text itself, or (an id made of undecodable bytes) one that survives UTF-8."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()


def high_fd(fd):
    """A private duplicate, out of the way of tests that close every low descriptor."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY or limit > 4096:
        limit = 4096
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max(limit - 64, 16))


def write_all(fd, data):
    """One write, as a rule. A test may have made the shared pipe non-blocking: then wait."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


class Control:
    """JSON lines over a stream socket. A peer that is gone reads as {"close": true}."""

    def __init__(self, fd):
        self.socket = socket.socket(fileno=high_fd(fd))
        self.rest = b""
        self.lost = False
        self.early = []
        os.close(fd)

    def send(self, message):
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        self.send_bytes(text.encode("utf-8", "runner") + b"\n")

    def send_bytes(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise
            self.lost = True

    def receive(self, block):
        """The messages that are there; with `block`, at least one."""
        if self.early:
            messages, self.early = self.early, []
            return messages
        while True:
            if self.lost:
                return [{"close": True}]
            try:
                data = self.socket.recv(262144, 0 if block else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return []
            except OSError:
                data = b""
            if not data:
                self.lost = True
                continue
            lines = (self.rest + data).split(b"\n")
            self.rest = lines.pop()
            if lines or not block:
                return [json.loads(line) for line in lines if line]

    def first(self):
        messages = self.receive(True)
        self.early = messages[1:]
        return messages[0]

    def close(self):
        self.socket.close()


class Outlet:
    """One of a slot's two pipes: what fd 1 or 2 and sys.stdout or sys.stderr must be between
    tests, and the marks that tell the host where in the stream a test starts and ends."""

    def __init__(self, fd, name, nonce):
        self.fd = fd
        self.name = name
        self.pipe = high_fd(fd)
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)
        self.prefix = b"\0\x1brunner-" + nonce.encode()
        self.open()

    def open(self):
        """Take the interpreter's own stream if it is sound (log handlers hold it), or make one."""
        stream = getattr(sys, "__%s__" % self.name)
        try:
            stream.flush()
            sound = stream.fileno() == self.fd
            stream.reconfigure(
                encoding="utf-8", errors="backslashreplace", line_buffering=True
            )
        except (AttributeError, OSError, ValueError):
            sound = False
        if not sound:
            raw = io.FileIO(self.fd, "w", closefd=False)
            stream = io.TextIOWrapper(
                io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True
            )
            stream.mode = "w"
        self.stream = stream
        setattr(sys, self.name, stream)
        setattr(sys, "__%s__" % self.name, stream)

    def restore(self):
        """Flush, and mend what a test closed or put in the place of our stream."""
        if not os.get_blocking(self.pipe):
            os.set_blocking(self.pipe, True)
        current = getattr(sys, self.name, None)
        if current is not self.stream and current is not None:
            try:
                current.flush()
            except Exception:
                pass
        try:
            status = os.fstat(self.fd)
            intact = (status.st_dev, status.st_ino) == self.identity
        except OSError:
            intact = False
        if intact:
            try:
                self.stream.flush()
            except (OSError, ValueError):
                intact = False
        if not intact:
            os.dup2(self.pipe, self.fd)
        if current is not self.stream or self.stream.closed or not intact:
            try:
                self.stream.flush()
            except (OSError, ValueError):
                pass
            self.open()

    def mark(self, *marks):
        """marks: b"s" or b"e" with the test's token. False if the pipe is dead."""
        data = b"".join(b"%s%s%010d\0" % (self.prefix, kind, token) for kind, token in marks)
        try:
            write_all(self.pipe, data)
            return True
        except OSError:
            return False


class Null:
    """Where pytest's own terminal report goes."""

    encoding = "utf-8"

    def write(self, text):
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return False


class Live(Null):
    """What plug-ins write through the terminal reporter (live logs, a timeout's stacks)."""

    def write(self, text):
        return sys.stdout.write(text)

    def flush(self):
        sys.stdout.flush()


class Lines:
    """A terminal reporter that keeps the text."""

    text = ""

    def write(self, text, **markup):
        self.text += text

    def write_sep(self, sep, title="", **markup):
        self.text += "%s %s %s\n" % (sep * 5, title, sep * 5)


class QuietReporter:
    """Stands in for pytest's terminal reporter: its methods, none of its hooks."""

    def __init__(self, reporter):
        self._reporter = reporter

    def __getattr__(self, name):
        return getattr(self._reporter, name)


class Beyond:
    """The next item when none is known yet: keeps the item's parents set up."""

    def __init__(self, item):
        self._item = item
        self._chain = item.listchain()[:-1]

    def listchain(self):
        return self._chain

    def __getattr__(self, name):
        return getattr(self._item, name)


class WatchedEnviron(os._Environ):
    """os.environ while modules are imported: notes who asks for the worker's name. A module
    that does so at import would give the same answer in every fork."""

    asked = None

    def __getitem__(self, key):
        if key in ("PYTEST_XDIST_WORKER", "RUNNER_WORKER") and WatchedEnviron.asked is None:
            frame = sys._getframe(1)
            while frame and frame.f_globals.get("__name__") in ("os", "collections.abc"):
                frame = frame.f_back
            if frame:
                WatchedEnviron.asked = "%s:%d" % (frame.f_code.co_filename, frame.f_lineno)
        return super().__getitem__(key)


def reset_exit_handlers():
    """In a fork: exit handlers of the zygote's making are the zygote's to run, once."""
    atexit._clear()
    for finalizer in list(weakref.finalize._registry.values()):
        finalizer.atexit = False
    if weakref.finalize._registered_with_atexit:
        atexit.register(weakref.finalize._exitfunc)
    logging = sys.modules.get("logging")
    if logging:
        atexit.register(logging.shutdown)
    util = sys.modules.get("multiprocessing.util")
    if util:
        sys.modules["multiprocessing.process"]._children = set()
        util._finalizer_registry.clear()
        atexit.register(util._exit_function)


def leave_quickly():
    """The exit handler that runs first: it runs the others, and then nobody needs the
    interpreter taken apart."""
    atexit.unregister(leave_quickly)
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:
        pass
    os._exit(0)


def system_library():
    try:
        import ctypes

        return ctypes.CDLL(None, use_errno=True)
    except Exception:
        return None


def plain(value):
    """Only what JSON can carry."""
    try:
        json.dumps(value)
        return True
    except (TypeError, ValueError):
        return False


class Outcome:
    """The reports of one test, folded into the result the host gets."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.reports = []
        self.errors = {}

    def failure(self, report):
        """(message, type) of a failed report."""
        crash = getattr(report.longrepr, "reprcrash", None)
        text = crash.message if crash is not None else report.longreprtext
        kind = self.errors.get(id(report))
        if kind is None:
            match = re.match(r"[A-Za-z_][\w.]*(?=:|$)", first_line(text))
            kind = match.group().rpartition(".")[2] if match and crash is not None else "Failed"
        message = first_line(text)
        return (message if report.when == "call" else "%s: %s" % (report.when, message)), kind

    def skip_reason(self, report):
        if isinstance(report.longrepr, tuple):
            reason = report.longrepr[2]
        else:
            reason = first_line(report.longreprtext)
        return reason[len("Skipped: ") :] if reason.startswith("Skipped: ") else reason

    def result(self):
        phases, failures, last = {}, [], None
        result = {"status": "passed", "phases": phases}
        for report in self.reports:
            if report.outcome == "rerun":  # pytest-rerunfailures starts the test again
                phases.clear()
                failures, result = [], {"status": "passed", "phases": phases}
                continue
            last = report
            phases[report.when] = report.duration
            xfail = getattr(report, "wasxfail", None)
            if report.failed:
                failures.append(report)
            elif report.skipped and xfail is not None:
                result.update(status="skipped", xfail=True, reason=strip_reason(xfail))
            elif report.skipped:
                result.update(status="skipped", reason=clip(self.skip_reason(report), 4000))
            elif xfail is not None and report.when == "call":
                result["reason"] = "passed, though marked xfail: %s" % strip_reason(xfail)
        if failures:
            result.pop("reason", None)
            result.pop("xfail", None)
            message, kind = self.failure(failures[0])
            trace = "\n\n".join(report.longreprtext for report in failures)
            result.update(status="failed", message=message, type=kind, trace=clip(trace))
        elif last is None:
            result.update(status="failed", message="pytest reported nothing for this test")
        if last is not None and last.sections:
            result["sections"] = [
                [title, clip(text)]
                for title, text in last.sections
                if text and not title.startswith(("Captured stdout", "Captured stderr"))
            ]
        result["duration"] = sum(phases.values())
        return result


def strip_reason(text):
    return text[len("reason: ") :] if text.startswith("reason: ") else text


class Slot:
    """Runs the tests it is given, one after the other, until it is told to close."""

    def __init__(self, plugin, session, control, spec):
        self.plugin = plugin
        self.session = session
        self.control = control
        self.forks = spec.get("isolation") == "test"
        self.queue = collections.deque()
        self.closing = False
        self.stopping = None
        self.open_token = None
        self.promised = None
        self.last = None
        self.outlets = [
            Outlet(1, "stdout", spec["nonce"]),
            Outlet(2, "stderr", spec["nonce"]),
        ]
        stderr = self.outlets[1].pipe
        faulthandler.enable(file=stderr)
        faulthandler.register(DUMP_SIGNAL, file=stderr, all_threads=True, chain=False)
        self.point_faulthandler_at(stderr)
        if self.forks:
            self.prepare_forks()
        self.control.send({"hello": {"pid": os.getpid(), "dump_signal": int(DUMP_SIGNAL)}})

    def point_faulthandler_at(self, stderr):
        """pytest's faulthandler_timeout writes to a duplicate it made of the zygote's stderr."""
        module = sys.modules.get("_pytest.faulthandler")
        for name in ("fault_handler_stderr_fd_key", "fault_handler_stderr_key"):
            target = self.session.config.stash.get(getattr(module, name, None), None)
            if target is not None:
                os.dup2(stderr, target if isinstance(target, int) else target.fileno(), False)

    # -- the queue ---------------------------------------------------------------------------

    def receive(self, block):
        messages = self.control.receive(block)
        if self.control.lost:  # nobody is there to hear how tests go
            self.queue.clear()
        for message in messages:
            if "run" in message:
                self.queue.extend(message["run"])
            elif "take" in message:
                taken = [self.queue.pop()[0] for _ in range(min(message["take"], len(self.queue)))]
                self.control.send({"returned": taken[::-1]})
            elif "stop" in message:
                self.stopping = message
            elif "close" in message:
                self.closing = True

    def run(self):
        while True:
            self.receive(False)
            if not self.queue:
                self.mark_end()
                while not self.queue and not self.closing:
                    self.receive(True)
                if not self.queue:
                    break
            token, key, attempt, shown = self.queue.popleft()
            item = self.plugin.by_id.get(key)
            if item is None:
                self.mark(token)
                self.missing(token)
                continue
            if item is not self.promised:
                self.settle(item)
            self.mark(token)
            environ = shown.replace("\0", "\\0").encode("utf-8", "runner")[:ENV_LIMIT]
            os.environb[b"RUNNER_TEST_ID"] = environ
            os.environ["RUNNER_ATTEMPT"] = str(attempt)
            if self.forks:
                data = self.run_in_fork(token, item)
            else:
                following = self.plugin.by_id.get(self.queue[0][1]) if self.queue else None
                if following is item:  # the same test again: it must be torn down in between
                    following = None
                self.promised = following
                self.last = shown, item
                data = self.run_item(token, item, following or Beyond(item))
            for outlet in self.outlets:
                outlet.restore()
            self.control.send_bytes(data)
        self.settle(None)
        self.control.send({"returned": [entry[0] for entry in self.queue]})

    def missing(self, token):
        message = "this worker's own collection did not find the test"
        self.control.send({"done": token, "status": "failed", "message": message})

    # -- marks -------------------------------------------------------------------------------

    def write_marks(self, token, *marks):
        written = [outlet.mark(*marks) for outlet in self.outlets]
        if not all(written):
            self.control.send({"unmarked": token})

    def mark(self, token):
        if self.open_token is None:
            self.write_marks(token, (b"s", token))
        else:
            self.write_marks(token, (b"e", self.open_token), (b"s", token))
        self.open_token = token

    def mark_end(self):
        if self.open_token is not None:
            self.write_marks(self.open_token, (b"e", self.open_token))
            self.open_token = None

    # -- fixtures that outlive a test --------------------------------------------------------

    def settle(self, item):
        """Tear down what the next item (None: nobody) does not need."""
        self.promised = item
        state = getattr(self.session, "_setupstate", None)
        if state is None or not state.stack:
            return
        if item is not None:
            needed = item.listchain()
            if list(state.stack) == needed[: len(state.stack)]:
                return
        self.mark_end()
        test_id, last = self.last or (None, self.session)
        self.control.send({"settling": test_id or ""})
        try:
            state.teardown_exact(item)
        except BaseException:
            self.teardown_problem(test_id, last)
        for outlet in self.outlets:
            outlet.restore()
        self.control.send({"settled": True})

    def teardown_problem(self, test_id, item):
        info = pytest.ExceptionInfo.from_current()
        message, text = first_line(info.exconly()), describe(item, info)
        self.control.send(
            {"problem": {"kind": "teardown", "id": test_id, "message": message, "text": clip(text)}}
        )

    # -- one test ----------------------------------------------------------------------------

    def run_item(self, token, item, nextitem):
        """Run it here. Returns the line to send."""
        outcome = self.plugin.outcome
        outcome.clear()
        if item._report_sections:  # of an earlier attempt
            item._report_sections.clear()
        cpu = time.process_time()
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
        except BaseException:
            failure = self.recover(item, nextitem)
        else:
            failure = None
        cpu = time.process_time() - cpu
        reports = outcome.reports
        if (
            failure is None
            and len(reports) == 3
            and reports[0].outcome == reports[1].outcome == reports[2].outcome == "passed"
            and not reports[2].sections
            and not hasattr(reports[1], "wasxfail")
        ):
            setup, call, teardown = (report.duration for report in reports)
            line = (
                '{"done":%d,"status":"passed","duration":%.6f,"cpu":%.6f,'
                '"phases":{"setup":%.6f,"call":%.6f,"teardown":%.6f}}\n'
                % (token, setup + call + teardown, cpu, setup, call, teardown)
            )
            outcome.clear()
            return line.encode()
        try:
            result = outcome.result()
        except Exception:  # a plug-in's report that is none
            result = {"status": "failed", "message": "the test's report could not be read",
                      "trace": clip(traceback.format_exc())}
        if failure:
            failure["trace"] = clip("\n\n".join(
                text for text in (failure["trace"], result.get("trace")) if text))
            result.update(failure, status="failed")
        result.update(done=token, cpu=cpu)
        outcome.clear()
        return encode(result)

    def recover(self, item, nextitem):
        """pytest.exit, KeyboardInterrupt or an error in a hook went through the protocol: the
        test failed; tear it down and go on."""
        info = pytest.ExceptionInfo.from_current()
        failure = {
            "message": first_line(("%s: %s" % (info.typename, info.value)).rstrip(": ")),
            "type": info.typename,
            "trace": clip(describe(item, info)),
        }
        try:
            item.ihook.pytest_runtest_teardown(item=item, nextitem=nextitem)
        except BaseException:
            pass
        state = self.session._setupstate
        try:
            if item in state.stack:
                state.teardown_exact(nextitem)
        except BaseException:
            pass
        os.environ.pop("PYTEST_CURRENT_TEST", None)
        self.session.shouldstop = self.session.shouldfail = False
        return failure

    # -- one test in a process of its own ----------------------------------------------------

    def prepare_forks(self):
        self.shared = mmap.mmap(-1, 4 * TEXT_LIMIT)
        self.library = system_library()
        self.adopts = False
        if self.library:  # PR_SET_CHILD_SUBREAPER: a test's orphans become ours to see and end
            self.adopts = self.library.prctl(36, 1, 0, 0, 0) == 0
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
        self.poll.register(self.control.socket, select.POLLIN)
        gc.freeze()

    def run_in_fork(self, token, item):
        self.shared[:4] = b"\0\0\0\0"
        self.stopping = None
        started = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            self.child(token, item)
        status, usage = self.wait(pid, token)
        leaks = self.end_leftovers(pid)
        length = struct.unpack("=I", self.shared[:4])[0]
        if length and status == 0:
            data = self.shared[4 : 4 + length]
            if not leaks:
                return data
            result = json.loads(data)
        else:
            result = self.crashed(token, status, time.perf_counter() - started)
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
            if self.library:
                self.library.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
            reset_exit_handlers()
            self.plugin.start_coverage()
            data = self.run_item(token, item, None)
            self.plugin.finish_coverage()
            atexit._run_exitfuncs()
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            data = data[:-2] + b',"memory":%d}\n' % memory
            for outlet in self.outlets:
                outlet.restore()
            if len(data) > len(self.shared) - 4:
                data = encode({"done": token, "status": json.loads(data)["status"],
                               "message": "the test's report is too long"})
            self.shared[4 : 4 + len(data)] = data
            self.shared[:4] = struct.pack("=I", len(data))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(70)

    def wait(self, pid, token):
        """Wait for the test's process; the host may want it stopped in the meantime."""
        steps, deadline, gone = None, None, False
        while True:
            done, status, usage = os.wait4(pid, os.WNOHANG)
            if done:
                return status, usage
            timeout = None if deadline is None else max(0, (deadline - time.monotonic()) * 1000)
            for fd, _ in self.poll.poll(timeout):
                if fd == self.wake:
                    os.read(self.wake, 4096)
                else:
                    self.receive(False)
            if self.control.lost and not gone:
                gone = True
                self.poll.unregister(self.control.socket)
                self.signal_group(pid, signal.SIGKILL)
            if steps is None and self.stopping and self.stopping["stop"] == token:
                grace = self.stopping.get("grace", 10)
                steps = iter([(DUMP_SIGNAL, 0.15), (signal.SIGTERM, grace), (signal.SIGKILL, 3600)])
                deadline = 0
            if deadline is not None and time.monotonic() >= deadline:
                number, seconds = next(steps)
                deadline = time.monotonic() + seconds
                if number == DUMP_SIGNAL:
                    os.kill(pid, number)
                else:
                    self.signal_group(pid, number)

    @staticmethod
    def signal_group(pid, number):
        for kill in (os.killpg, os.kill):
            try:
                kill(pid, number)
            except OSError:
                pass

    def end_leftovers(self, pid):
        """Kill what the test left running; tell what it was."""
        leaks, patience = {}, 20
        while self.adopts:
            try:
                ended, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if ended:
                continue
            if patience:  # on its way out already, as often as not
                patience -= 1
                time.sleep(0.005)
                continue
            for orphan in self.children():
                leaks.setdefault(orphan, command_line(orphan))
                os.kill(orphan, signal.SIGKILL)
            os.waitpid(-1, 0)
        try:
            os.killpg(pid, signal.SIGKILL)
        except OSError:
            pass
        return [{"pid": orphan, "command": command} for orphan, command in leaks.items()]

    @staticmethod
    def children():
        path = "/proc/self/task/%d/children" % os.getpid()
        try:
            with open(path) as file:
                return [int(word) for word in file.read().split()]
        except OSError:
            return []

    def crashed(self, token, status, duration):
        result = {"done": token, "status": "crashed", "duration": duration}
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            try:
                name = signal.Signals(number).name
            except ValueError:
                name = "signal %d" % number
            result.update(signal=number, signal_name=name,
                          message="the test's process was ended by %s" % name)
        else:
            code = os.WEXITSTATUS(status)
            result.update(exit_code=code,
                          message="the test's process exited with status %d before its end" % code)
        return result


def encode(message):
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "runner") + b"\n"


def describe(item, info):
    try:
        return str(item.repr_failure(info))
    except BaseException:
        return "".join(traceback.format_exception(info.type, info.value, info.tb))


def command_line(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return file.read(4096).rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


class Plugin:
    def __init__(self):
        self.control = Control(CONTROL_FD)
        self.spec = self.control.first()
        self.mode = self.spec["mode"]
        self.outcome = Outcome()
        self.by_id = {}
        self.order = {}
        self.deselected = 0
        self.nodes = []
        self.forked = False
        self.refused = None
        if self.mode == "zygote":
            self.requests = socket.socket(fileno=high_fd(FORK_FD))
            os.close(FORK_FD)
            os.environ.__class__ = WatchedEnviron
            # Collecting makes objects that stay; looking for garbage among them is time lost.
            self.threshold = gc.get_threshold()
            gc.set_threshold(COLLECTING_THRESHOLD)
        else:
            self.set_environment(self.spec["slot"])

    # -- configuration -----------------------------------------------------------------------

    @pytest.hookimpl(hookwrapper=True)
    def pytest_load_initial_conftests(self, early_config):
        # Before pytest-cov looks: we are the ones who distribute, and a fresh worker must not
        # erase what others measured.
        self.neutralise(early_config.known_args_namespace)
        if self.mode == "fresh" and hasattr(early_config.known_args_namespace, "cov_append"):
            early_config.known_args_namespace.cov_append = True
        yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config):
        if config.option.maxfail:
            self.log("info", "pytest's own --maxfail/-x is not used: see fail_fast and max_fail")
        if getattr(config.option, "xmlpath", None):
            self.log("info", "pytest's own --junit-xml is not used: see report.junit")
        self.neutralise(config.option)
        config.option.xmlpath = None
        # Its status server is a thread, and serves xdist's processes only.
        rerunfailures = sys.modules.get("pytest_rerunfailures")
        if rerunfailures:
            rerunfailures.HAS_PYTEST_HANDLECRASHITEM = False
        if self.mode == "fresh":
            if self.spec["slot"].get("workerinput"):
                self.become_worker(config, self.spec["slot"])
            if self.spec.get("files"):
                config.args = list(self.spec["files"])
            if self.spec["slot"].get("basetemp"):
                config.option.basetemp = self.basetemp(self.spec["slot"])

    @staticmethod
    def neutralise(option):
        for name, value in (
            ("numprocesses", None), ("maxprocesses", None), ("dist", "no"), ("distload", False),
            ("tx", []), ("looponfail", False), ("usepdb", False), ("maxfail", 0),
        ):
            if hasattr(option, name):
                setattr(option, name, value)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_sessionstart(self, session):
        manager = session.config.pluginmanager
        reporter = manager.get_plugin("terminalreporter")
        writer = getattr(reporter, "_tw", None)
        if writer is not None:
            writer._file = Null()
        if self.mode == "fresh":
            # The zygote died before it could say what plug-ins hand to their workers: they are
            # configured without.
            if not hasattr(session.config, "workerinput"):
                self.become_worker(session.config, self.spec["slot"])
            controller = getattr(manager.get_plugin("_cov"), "cov_controller", None)
            if controller is not None:  # its measuring as a controller; a worker's starts now
                controller.cov.stop()
        yield
        if reporter is not None:
            manager.unregister(reporter)
            manager.register(QuietReporter(reporter), "terminalreporter")
        if writer is not None:
            writer._file = Live()

    def pytest_keyboard_interrupt(self, excinfo):
        sys.stderr.write("%s\n" % excinfo.exconly())

    # -- collection --------------------------------------------------------------------------

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        # Duplicate ids are numbered in the order of collection, whatever a plug-in shuffles.
        self.order = {item: number for number, item in enumerate(items)}
        yield

    def pytest_deselected(self, items):
        self.deselected += len(items)

    def pytest_collectreport(self, report):
        if self.mode != "zygote" or report.passed:
            return
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.log("info", "%s: skipped as a whole: %s" % (report.nodeid, first_line(reason)))
            return
        text = report.longreprtext
        blamed = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
        message = blamed[-1] if blamed else first_line(text)
        self.problem("collection", report.nodeid, message, text)

    def identify(self):
        """The id of each item, in the order of the items: its nodeid, with a number from the
        second of its name on."""
        items, order, counts = self.session.items, self.order, {}
        ids = [""] * len(items)
        for place in sorted(range(len(items)), key=lambda n: order.get(items[n], len(order))):
            nodeid = test_id = printable(items[place].nodeid)
            number = counts.get(nodeid, 1)
            while test_id in self.by_id:
                number += 1
                test_id = "%s#%d" % (nodeid, number)
            counts[nodeid] = number
            self.by_id[test_id] = items[place]
            ids[place] = test_id
        return ids

    def announce(self):
        """Tell the host every test, in the order pytest would run them, some hundred a line."""
        files, rows = {}, []
        start = os.getcwd()
        for test_id, item in zip(self.identify(), self.session.items):
            path = getattr(item, "path", None)
            if path not in files:
                files[path] = printable(os.path.relpath(str(path), start)) if path else ""
            file, line = files[path], 0
            location = item.location
            if location[1] is not None and location[0] == item.nodeid.partition("::")[0]:
                line = location[1] + 1
            name = item.nodeid.partition("::")[2] or item.name
            tags = list(dict.fromkeys(
                mark.name for mark in item.iter_markers() if mark.name not in UNNAMED_MARKERS
            ))
            rows.append([test_id, name, file, line, tags])
            if len(rows) == 400:
                self.control.send({"tests": rows})
                rows = []
        if rows:
            self.control.send({"tests": rows})

    # -- the loop ----------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        self.session = session
        if self.mode == "zygote":
            os.environ.__class__ = os._Environ
            self.announce()
            self.control.send({"ready": self.about()})
            spec = self.serve()
            if spec is None:
                return True
        else:
            self.identify()
            spec = self.spec["slot"]
        self.run_slot(spec)
        return True

    def about(self):
        return {
            "python": "%d.%d.%d" % sys.version_info[:3],
            "pytest": pytest.__version__,
            "rootdir": printable(str(self.session.config.rootpath)),
            "deselected": self.deselected,
        }

    def run_slot(self, spec):
        slot = Slot(self, self.session, self.control, spec)
        slot.run()
        self.node_down()

    def pytest_runtest_logreport(self, report):
        self.outcome.reports.append(report)

    def pytest_exception_interact(self, call, report):
        if call.excinfo is not None:
            self.outcome.errors[id(report)] = call.excinfo.typename

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if self.mode == "zygote":
            self.tell_coverage()
        session.exitstatus = 0

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_unconfigure(self):
        yield
        waiting = [
            thread.name for thread in threading.enumerate()
            if thread is not threading.main_thread() and not thread.daemon
        ]
        self.control.send({"bye": {"threads": waiting}})
        atexit.register(leave_quickly)

    # -- the zygote --------------------------------------------------------------------------

    def serve(self):
        """Fork a slot for each request. Returns None in the zygote when it is told to end; in a
        slot, what the slot's first message says."""
        if gc.get_threshold()[0] == COLLECTING_THRESHOLD:
            gc.set_threshold(*self.threshold)
        gc.freeze()
        poll = select.poll()
        poll.register(self.control.socket, select.POLLIN)
        poll.register(self.requests, select.POLLIN)
        while True:
            for fd, event in poll.poll():
                if fd == self.requests.fileno():
                    request = self.next_request()
                    if request is None:
                        poll.unregister(fd)
                    elif self.fork_slot(*request):
                        return self.enter_slot()
                    continue
                for message in self.control.receive(True):
                    if "template" in message:
                        self.send_template()
                    elif "close" in message:
                        # pytest-cov has --no-cov-on-fail.
                        self.session.testsfailed += message.get("failed", 0)
                        self.requests.close()
                        return None

    def next_request(self):
        """recv_fds by hand (it came with Python 3.9): (u32 id, three descriptors)."""
        size = array.array("i").itemsize
        try:
            data, ancillary, _, _ = self.requests.recvmsg(16, socket.CMSG_SPACE(3 * size))
        except OSError:
            return None
        if len(data) < 4:
            return None
        fds = array.array("i")
        for level, kind, body in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(body[: len(body) - len(body) % size])
        return data[:4], list(fds)

    def fork_slot(self, request, fds):
        """True in the slot. It is the agent's child, by way of a process in between, before the
        agent gets the answer."""
        why = None if len(fds) == 3 else "the request came without descriptors"
        if why is None and not self.forked:
            why = self.why_not_fork()
            factory = getattr(self.session.config, "_tmp_path_factory", None)
            if factory is not None:
                factory.getbasetemp()  # one for the whole run; each slot gets a folder in it
            self.forked = why is None
        if why is None and threading.active_count() > 1:
            why = self.running_threads()
        pid = 0
        if why is None:
            sys.stdout.flush()
            sys.stderr.flush()
            try:
                pid = self.fork_twice()
            except OSError as error:
                why = "cannot fork: %s" % error
        if pid is None:
            self.inherited = fds
            return True
        self.refused = why
        for fd in fds:
            os.close(fd)
        try:
            self.requests.send(request + struct.pack("<I", pid))
        except OSError:
            pass
        return False

    @staticmethod
    def fork_twice():
        """The pid of the grandchild (0: it could not be made); None in the grandchild."""
        reader, writer = os.pipe()
        middle = os.fork()
        if middle == 0:
            os.close(reader)
            try:
                pid = os.fork()
            except OSError:
                pid = -1
            if pid == 0:
                os.close(writer)
                return None
            os.write(writer, struct.pack("=i", max(pid, 0)))
            os._exit(0)
        os.close(writer)
        answer = os.read(reader, 4)
        os.close(reader)
        try:
            os.waitpid(middle, 0)
        except ChildProcessError:
            pass
        return struct.unpack("=i", answer)[0] if len(answer) == 4 else 0

    def why_not_fork(self):
        """A fork has only the thread that called it: locks the others hold stay locked."""
        if WatchedEnviron.asked:
            return "%s asks for the worker's name while it is imported" % WatchedEnviron.asked
        if threading.active_count() > 1:
            return self.running_threads()
        if self.task_count() > 1:
            # Native threads. Some libraries (OpenBLAS) end theirs around a fork: try one.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pid = os.fork()
                if pid == 0:
                    os._exit(0)
            os.waitpid(pid, 0)
            if self.task_count() > 1:
                return "native threads run after collection"
        return None

    @staticmethod
    def task_count():
        try:
            return len(os.listdir("/proc/self/task"))
        except OSError:
            return 1

    @staticmethod
    def running_threads():
        names = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
        return "threads run after collection (%s)" % ", ".join(names)

    def enter_slot(self):
        """In the fork: a session of its own, the agent's three descriptors, and nothing else."""
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(self.inherited[0], 1)
        os.dup2(self.inherited[1], 2)
        self.control.close()
        self.requests.close()
        self.control = Control(self.inherited[2])
        for fd in (null, self.inherited[0], self.inherited[1]):
            os.close(fd)
        reset_exit_handlers()
        self.mode = "slot"
        spec = self.control.first()["slot"]
        self.set_environment(spec)
        config = self.session.config
        self.become_worker(config, spec)
        self.configure_node(config)
        self.own_basetemp(config, spec)
        self.start_coverage()
        return spec

    # -- being a worker ----------------------------------------------------------------------

    def set_environment(self, spec):
        worker = "gw%d" % spec["index"]
        for name, value in (
            ("RUNNER_RUN_ID", spec["run"]), ("RUNNER_WORKER", str(spec["index"])),
            ("RUNNER_COMMAND", spec.get("tag")), ("PYTEST_XDIST_WORKER", worker),
            ("PYTEST_XDIST_WORKER_COUNT", str(spec["count"])),
            ("PYTEST_XDIST_TESTRUNUID", spec["run"]),
        ):
            if value:
                os.environ[name] = value

    @staticmethod
    def become_worker(config, spec):
        config.workerinput = dict(
            spec.get("workerinput") or {},
            workerid="gw%d" % spec["index"],
            workercount=spec["count"],
            testrunuid=spec["run"],
            mainargv=list(sys.argv),
            cov_master_host=socket.gethostname(),
            cov_master_topdir=os.getcwd(),
            cov_master_rsync_roots=[],
        )
        config.workeroutput = {}

    def configure_node(self, config):
        """What projects hand from xdist's controller to a worker in pytest_configure_node."""
        hook = getattr(config.hook, "pytest_configure_node", None)
        if hook is None or not hook.get_hookimpls():
            return
        workerinput = config.workerinput
        gateway = types.SimpleNamespace(
            id=workerinput["workerid"], spec=types.SimpleNamespace(popen=True, chdir=None)
        )
        node = types.SimpleNamespace(
            config=config, gateway=gateway, workerinput=workerinput, workerinfo={},
            workeroutput=config.workeroutput, slaveinput=workerinput,
        )
        manager = config.pluginmanager
        coverage = [manager.get_plugin("_cov")] if manager.get_plugin("_cov") else []
        try:
            manager.subset_hook_caller("pytest_configure_node", coverage)(node=node)
            self.nodes.append(node)
        except Exception:
            text = traceback.format_exc()
            self.problem("infrastructure", None, "pytest_configure_node failed", text)

    def node_down(self):
        manager = self.session.config.pluginmanager
        coverage = [manager.get_plugin("_cov")] if manager.get_plugin("_cov") else []
        for node in self.nodes:
            try:
                caller = manager.subset_hook_caller("pytest_testnodedown", coverage)
                caller(node=node, error=None)
            except Exception:
                text = traceback.format_exc()
                self.problem("teardown", None, "pytest_testnodedown failed", text)

    def send_template(self):
        """What a worker that is no fork of ours gets as its workerinput, and where it may put
        temporary files."""
        config = self.session.config
        self.become_worker(config, {"index": 0, "count": 1, "run": ""})
        self.configure_node(config)
        template = {key: value for key, value in config.workerinput.items() if plain(value)}
        del config.workerinput, config.workeroutput
        self.nodes.clear()
        factory = getattr(config, "_tmp_path_factory", None)
        basetemp = str(factory.getbasetemp()) if factory is not None else None
        self.control.send(
            {"workerinput": template, "basetemp": basetemp, "refused": self.refused}
        )

    @staticmethod
    def basetemp(spec, parent=None):
        """A folder for this worker alone; never one an earlier process has used."""
        path = os.path.join(parent or spec["basetemp"], "popen-gw%d" % spec["index"])
        return "%s-%d" % (path, os.getpid()) if os.path.exists(path) else path

    def own_basetemp(self, config, spec):
        factory = getattr(config, "_tmp_path_factory", None)
        if factory is None:
            return
        config.option.basetemp = self.basetemp(spec, str(factory.getbasetemp()))
        # In place: fixtures and the legacy factories hold this very object.
        factory.__dict__.update(type(factory).from_config(config, _ispytest=True).__dict__)
        if spec.get("isolation") == "test":
            factory.getbasetemp()

    # -- pytest-cov --------------------------------------------------------------------------

    def coverage_plugin(self):
        plugin = self.session.config.pluginmanager.get_plugin("_cov")
        if plugin is None or getattr(plugin, "_disabled", False):
            return None
        return plugin if plugin.cov_controller is not None else None

    def start_coverage(self):
        """In a fork: leave the inherited measurement to the zygote, begin one that ends in a
        data file of our own, as an xdist worker's does; the zygote combines them."""
        plugin = self.coverage_plugin()
        if plugin is None:
            return
        from pytest_cov import engine

        plugin.cov_controller.cov.stop()
        config = self.session.config
        plugin.pid = os.getpid()
        plugin.start(engine.DistWorker, config, config.workerinput["workerid"])
        measuring = plugin.cov_controller.cov
        for kind in ("no_data", "unimported_source", "preimported_source"):  # nothing to warn of
            setattr(measuring, "_warn_" + kind, False)
        contexts = config.pluginmanager.get_plugin("_cov_contexts")
        if hasattr(contexts, "cov_controller"):
            contexts.cov_controller = plugin.cov_controller
        if hasattr(contexts, "cov"):
            contexts.cov = measuring

    def finish_coverage(self):
        plugin = self.coverage_plugin()
        if plugin is not None:
            plugin.cov_controller.finish()

    def tell_coverage(self):
        """pytest-cov's report, which it would have written to the terminal."""
        plugin = self.coverage_plugin()
        if plugin is None or plugin.cov_total is None:
            return
        lines = Lines()
        plugin.pytest_terminal_summary(lines)
        wanted = plugin.options.cov_fail_under
        short = wanted is not None and plugin.cov_total < wanted
        self.control.send({"coverage": clip(lines.text.strip("\n")), "short": short})

    # -- telling -----------------------------------------------------------------------------

    def log(self, level, text):
        if self.mode == "zygote":
            self.control.send({"log": [level, text]})

    def problem(self, kind, test_id, message, text):
        self.control.send({"problem": {
            "kind": kind, "id": printable(test_id) if test_id else None,
            "message": clip(message, 1000), "text": clip(text),
        }})


def hide_folder():
    """Take the folder this file was found in off the path again: it is no test's business."""
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    kept = [e for e in os.environ.get("PYTHONPATH", "").split(os.pathsep) if e != folder]
    if kept and kept != [""]:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    else:
        os.environ.pop("PYTHONPATH", None)


if int(pytest.__version__.partition(".")[0]) < 7:
    raise pytest.UsageError("runner needs pytest 7 or newer, this is " + pytest.__version__)
hide_folder()
plugin = Plugin()
globals().update((name, getattr(plugin, name)) for name in dir(plugin) if name[:7] == "pytest_")
