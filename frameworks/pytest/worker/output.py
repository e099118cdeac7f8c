"""A slot's stdout and stderr, and the marks that tell the host which test wrote what."""
import io
import os
import select
import sys

from runner_worker.control import high_fd


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


def flushed(stream):
    try:
        stream.flush()
        return True
    except (OSError, ValueError):
        return False


class Outlet:
    """One of the two pipes, and what fd 1 or 2 and sys.stdout or sys.stderr must be between
    tests."""

    def __init__(self, fd, name):
        self.fd = fd
        self.name = name
        self.pipe = high_fd(fd)
        self.identity = self.identify()
        self.open()

    def identify(self):
        try:
            status = os.fstat(self.fd)
            return status.st_dev, status.st_ino
        except OSError:
            return None

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
            except Exception:  # it is the test's own
                pass
        intact = self.identify() == self.identity and flushed(self.stream)
        if not intact:
            os.dup2(self.pipe, self.fd)
            flushed(self.stream)
        if not intact or current is not self.stream:
            self.open()


class Output:
    """Both pipes. A mark goes into both where a test starts ("s") and where it ends ("e")."""

    def __init__(self, control, nonce):
        self.control = control
        self.prefix = b"\0\x1brunner-" + nonce.encode()
        self.outlets = Outlet(1, "stdout"), Outlet(2, "stderr")
        self.stderr = self.outlets[1].pipe
        self.open_token = None

    def restore(self):
        for outlet in self.outlets:
            outlet.restore()

    def start(self, token):
        marks = self.mark(b"s", token)
        if self.open_token is not None:
            marks = self.mark(b"e", self.open_token) + marks
        self.open_token = token
        self.write(token, marks)

    def end(self):
        if self.open_token is not None:
            self.write(self.open_token, self.mark(b"e", self.open_token))
            self.open_token = None

    def mark(self, kind, token):
        return b"%s%s%010d\0" % (self.prefix, kind, token)

    def write(self, token, marks):
        written = True
        for outlet in self.outlets:
            try:
                write_all(outlet.pipe, marks)
            except OSError:
                written = False
        if not written:
            self.control.send({"unmarked": token})
