"""The control channel: JSON lines to and from the host."""
import fcntl
import json
import os
import resource
import socket

from runner_worker.text import LINE_LIMIT, clip, printable


def high_fd(fd):
    """A private duplicate, out of the way of tests that close every low descriptor."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY or limit > 4096:
        limit = 4096
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max(limit - 64, 16))


def take_socket(fd):
    """The socket at a descriptor that we were given, moved away from it."""
    taken = socket.socket(fileno=high_fd(fd))
    os.close(fd)
    return taken


def encode(message):
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "runner") + b"\n"


class Control:
    """A peer that is gone reads as {"close": true}."""

    def __init__(self, fd):
        self.socket = take_socket(fd)
        self.rest = b""
        self.early = []
        self.lost = False

    def replace(self, fd):
        """In a fork: another channel, in the very object that everybody holds."""
        self.socket.close()
        self.__init__(fd)

    # -- sending -----------------------------------------------------------------------------

    def send(self, message):
        self.send_bytes(encode(message))

    def send_bytes(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.lost = True

    def log(self, level, text):
        self.send({"log": [level, text]})

    def problem(self, kind, test_id, message, text):
        self.send({"problem": {
            "kind": kind, "id": printable(test_id) if test_id else None,
            "message": clip(message, LINE_LIMIT), "text": clip(text),
        }})

    # -- receiving ---------------------------------------------------------------------------

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
        """The first message; those that came with it are received later."""
        message, *self.early = self.receive(True)
        return message
