"""Runs the tests it is given, one after the other, until it is told to close."""
import os
from collections import deque

import pytest

from runner_worker import node, stacks
from runner_worker.item import run_item
from runner_worker.output import Output
from runner_worker.results import describe
from runner_worker.text import first_line

ENV_LIMIT = 32 * 1024


class Beyond:
    """The next item when none is known yet: keeps the item's parents set up."""

    def __init__(self, item):
        self._item = item
        self._chain = item.listchain()[:-1]

    def listchain(self):
        return self._chain

    def __getattr__(self, name):
        return getattr(self._item, name)


class Slot:
    def __init__(self, session, items, outcome, control, spec):
        self.session = session
        self.items = items
        self.outcome = outcome
        self.control = control
        self.spec = spec
        self.output = Output(control, spec["nonce"])
        stacks.enable(self.output.stderr, session.config)
        self.queue = deque()
        self.closing = False
        self.stopping = None
        self.promised = None  # what the fixtures that are set up wait for
        self.next = None  # what will probably follow the queue
        self.last = None
        self.forks = None
        if spec["isolation"] == "test":
            from runner_worker.fork import Forks

            self.forks = Forks(self)
        self.control.send({"hello": {"pid": os.getpid(), "dump_signal": stacks.DUMP_SIGNAL}})

    def receive(self, block):
        messages = self.control.receive(block)
        if self.control.lost:  # nobody is there to hear how tests go
            self.queue.clear()
        for message in messages:
            if "run" in message:
                self.queue.extend(message["run"])
                self.next = message.get("next")
            elif "take" in message:
                taken = [self.queue.pop()[0] for _ in range(min(message["take"], len(self.queue)))]
                self.control.send({"returned": taken[::-1]})
            elif "stop" in message:
                self.stopping = message
            elif "close" in message:
                self.closing = True

    def run(self):
        while self.wait_for_test():
            token, key, attempt, shown = self.queue.popleft()
            item = self.items.get(key)
            if item is None:
                self.output.start(token)
                message = "this worker's own collection did not find the test"
                self.control.send({"done": token, "status": "failed", "message": message})
                continue
            if item is not self.promised:
                self.settle(item)
            self.output.start(token)
            if os.environ.get("RUNNER_COMMAND") != self.spec["tag"]:  # a test cleared it
                node.set_environment(self.spec)
            environ = shown.replace("\0", "\\0").encode("utf-8", "runner")[:ENV_LIMIT]
            os.environb[b"RUNNER_TEST_ID"] = environ
            os.environ["RUNNER_ATTEMPT"] = str(attempt)
            if self.forks:
                line = self.forks.run(token, item)
            else:
                line = self.run_here(token, item, shown)
            self.output.restore()
            self.control.send_bytes(line)
        self.settle(None)
        self.control.send({"returned": [entry[0] for entry in self.queue]})

    def wait_for_test(self):
        """False: there will be none."""
        self.receive(False)
        if not self.queue:
            self.output.end()
            while not self.queue and not self.closing:
                self.receive(True)
        return len(self.queue) > 0

    def run_here(self, token, item, shown):
        following = self.items.get(self.queue[0][1] if self.queue else self.next)
        if following is item:  # the same test again: it must be torn down in between
            following = None
        self.promised = following
        self.last = shown, item
        return run_item(self.outcome, token, item, following or Beyond(item))

    def settle(self, item):
        """Tear down what the next item (None: nobody) does not need."""
        self.promised = item
        state = self.session._setupstate
        if not state.stack:
            return
        if item is not None and list(state.stack) == item.listchain()[: len(state.stack)]:
            return
        self.output.end()
        test_id, last = self.last or (None, self.session)
        self.control.send({"settling": test_id or ""})
        try:
            state.teardown_exact(item)
        except BaseException:
            info = pytest.ExceptionInfo.from_current()
            message = first_line(info.exconly())
            self.control.problem("teardown", test_id, message, describe(last, info))
        self.output.restore()
        self.control.send({"settled": True})
