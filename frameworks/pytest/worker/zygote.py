"""The process that has collected: forks a slot for each request of the agent."""
import os
import select
import socket
import struct
import sys

from runner_worker import node
from runner_worker.control import take_socket
from runner_worker.exits import reset_exit_handlers
from runner_worker.forkable import why_not_at_all, why_not_now

FORK_FD = 4
FD_SIZE = struct.calcsize("=i")


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


class Zygote:
    def __init__(self, control):
        self.control = control
        self.requests = take_socket(FORK_FD)
        self.session = None
        self.forked = False
        self.refused = None

    def serve(self, session):
        """Returns None when the zygote is told to end; in a slot, what the slot's first message
        says."""
        self.session = session
        poll = select.poll()
        poll.register(self.control.socket, select.POLLIN)
        poll.register(self.requests, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self.requests.fileno():
                    request = self.next_request()
                    if request is None:
                        poll.unregister(fd)
                    elif self.fork_slot(*request):
                        return self.control.first()["slot"]
                    continue
                for message in self.control.receive(True):
                    if "template" in message:
                        self.send_template()
                    elif "close" in message:
                        # pytest-cov has --no-cov-on-fail.
                        session.testsfailed += message.get("failed", 0)
                        self.requests.close()
                        return None

    def next_request(self):
        """recv_fds by hand (it came with Python 3.9): (u32 id, three descriptors)."""
        try:
            data, ancillary, _, _ = self.requests.recvmsg(16, socket.CMSG_SPACE(3 * FD_SIZE))
        except OSError:
            return None
        if len(data) < 4:
            return None
        fds = []
        for level, kind, body in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                count = len(body) // FD_SIZE
                fds += struct.unpack("=%di" % count, body[: count * FD_SIZE])
        return data[:4], fds

    def fork_slot(self, request, fds):
        """True in the slot. It is the agent's child, by way of a process in between, before the
        agent gets the answer."""
        pid, self.refused = 0, self.why_not(fds)
        if self.refused is None:
            sys.stdout.flush()
            sys.stderr.flush()
            try:
                pid = fork_twice()
            except OSError as error:
                self.refused = "cannot fork: %s" % error
        if pid is None:
            self.become_slot(fds)
            return True
        for fd in fds:
            os.close(fd)
        try:
            self.requests.send(request + struct.pack("<I", pid))
        except OSError:
            pass
        return False

    def why_not(self, fds):
        if len(fds) != 3:
            return "the request came without descriptors"
        if self.forked:
            return why_not_now()
        node.run_basetemp(self.session.config)  # each slot gets a folder in it
        why = why_not_at_all()
        self.forked = why is None
        return why

    def become_slot(self, fds):
        """In the fork: a session of its own, the agent's three descriptors, and nothing of the
        zygote's."""
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        for number, fd in enumerate((null, fds[0], fds[1])):
            os.dup2(fd, number)
            os.close(fd)
        self.requests.close()
        self.control.replace(fds[2])
        reset_exit_handlers()

    def send_template(self):
        """What a worker that is no fork of ours gets as its workerinput, and where it may put
        temporary files."""
        config = self.session.config
        self.control.send({
            "workerinput": node.template(config, self.control),
            "basetemp": node.run_basetemp(config),
            "refused": self.refused,
        })
