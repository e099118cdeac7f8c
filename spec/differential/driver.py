"""Runs random projects of a framework under its own runner and under ours, and compares test by test.

    ./dev fuzz differential [FRAMEWORK...] [SECONDS] [--count N] [--seed S] [--jobs N]

A framework is a module beside this one (go.py) with

    versions()                      the versions that are there, as names; none: it is skipped, in words
    generate(random, version)       a Project, from nothing but the given random.Random
    own(folder, version, project)   what the framework's own runner says of the project in that folder: Verdicts
    explain(difference, project)    optional: why a difference is none that matters, as a short text; else None

Each project is made from one number, its seed, which is printed with every disagreement; `--seed S --count 1` makes it
again. Projects that disagree are kept in build/differential/. The last line is "N passed, M failed".
"""

import argparse
import concurrent.futures
import dataclasses
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FAILURES = {"failed", "timed_out", "crashed", "not_run"}
LIMIT_S = 300  # of one run of one project; a run that takes longer hangs


@dataclasses.dataclass
class Project:
    """What a generator makes: files by path, and notes for `explain` (anything)."""

    files: dict  # path → text; the file runner.lua is the configuration
    notes: object = None
    modes: dict = dataclasses.field(default_factory=dict)  # path → mode, where it is not 0644


@dataclasses.dataclass
class Verdicts:
    """What a runner says of a project. States: passed failed skipped; a set of them where it leaves that open."""

    code: int
    tests: dict  # id, as ours has it → state
    output: str = ""  # for people
    problems: list = dataclasses.field(default_factory=list)  # of ours: kind and message


@dataclasses.dataclass
class Difference:
    test: str  # its id, or "exit code"
    own: object  # state, exit code, or None: not there
    ours: object


def execute(argv, cwd, env=None, limit=LIMIT_S):
    """Runs a command with all that it starts; returns its exit code (None: it hangs) and what it printed."""
    process = subprocess.Popen(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    try:
        out, _ = process.communicate(timeout=limit)
        return process.returncode, out.decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        return None, out.decode("utf-8", "replace")


def write(project, folder):
    for path, text in project.files.items():
        whole = os.path.join(folder, path)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        with open(whole, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
        if path in project.modes:
            os.chmod(whole, project.modes[path])


def ours(runner, folder):
    """What our runner says: final states by id, and the problems of the run."""
    code, output = execute([runner, "run", "--color", "never"], folder)
    tests, problems = {}, []
    try:
        with open(os.path.join(folder, "test-results", "events.ndjson"), encoding="utf-8") as file:
            for line in file:
                event = json.loads(line)
                if event["event"] == "test_finished":
                    state = event["status"]
                    tests[event["id"]] = "failed" if state in FAILURES else "passed" if state == "flaky" else state
                elif event["event"] == "problem":
                    problems.append("%s: %s" % (event.get("kind"), (event.get("message") or "").split("\n")[0]))
    except (OSError, ValueError) as error:
        problems.append("events: %s" % error)
    return Verdicts(code, tests, output, problems)


def compare(own, mine):
    """The differences between two Verdicts."""
    differences = []
    if own.code is None or mine.code is None or (own.code == 0) != (mine.code == 0):
        differences.append(Difference("exit code", own.code, mine.code))
    for test in sorted(set(own.tests) | set(mine.tests)):
        theirs, here = own.tests.get(test), mine.tests.get(test)
        if here != theirs and not (isinstance(theirs, (set, frozenset)) and here in theirs):
            differences.append(Difference(test, theirs, here))
    return differences


class Fuzz:
    def __init__(self, framework, arguments):
        self.name, self.arguments = framework, arguments
        self.module = importlib.import_module(framework)
        self.passed, self.failed, self.tests, self.benign = 0, 0, 0, {}
        self.lock = threading.Lock()

    def one(self, seed, version):
        project = self.module.generate(random.Random("%s %d" % (self.name, seed)), version)
        with tempfile.TemporaryDirectory(prefix="differential-") as top:
            folder = os.path.join(top, "project")  # the same for both, but new: what the first leaves is not there
            write(project, folder)
            own = self.module.own(folder, version, project)
            shutil.rmtree(folder)
            write(project, folder)
            mine = ours(self.arguments.runner, folder)
            explain = getattr(self.module, "explain", lambda difference, project: None)
            bad, reasons = [], []
            for difference in compare(own, mine):
                reason = explain(difference, project)
                if reason:
                    reasons.append(reason)
                else:
                    bad.append(difference)
            kept = bad and self.keep(seed, folder)
        with self.lock:
            self.tests += len(own.tests)
            for reason in set(reasons):
                self.benign[reason] = self.benign.get(reason, 0) + 1
            if bad:
                self.failed += 1
                self.tell(seed, version, bad, own, mine, kept)
            else:
                self.passed += 1

    def keep(self, seed, folder):
        kept = os.path.join(self.arguments.keep, "%s-%d" % (self.name, seed))
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept, symlinks=True)
        return kept

    def tell(self, seed, version, bad, own, mine, kept):
        print("\n%s: seed %d disagrees (%s), kept in %s" % (self.name, seed, version, kept))
        for difference in bad:
            print("  %-40s own: %-10s ours: %s" % (difference.test, difference.own, difference.ours))
        for problem in mine.problems:
            print("  problem: %s" % problem)
        for name, verdicts in (("own", own), ("ours", mine)):
            with open(os.path.join(kept, "output-of-%s.txt" % name), "w", encoding="utf-8") as file:
                file.write(verdicts.output)
        sys.stdout.flush()

    def run(self):
        versions = self.module.versions()
        if not versions:
            print("%s: skipped, it is not installed" % self.name)
            return True
        started = time.monotonic()
        first = self.arguments.seed

        def is_over(n):
            if self.arguments.count is not None:
                return n >= self.arguments.count
            return time.monotonic() - started >= self.arguments.seconds

        with concurrent.futures.ThreadPoolExecutor(self.arguments.jobs) as pool:
            waiting, n = set(), 0
            while not is_over(n):
                # The version follows from the seed, so that one number makes the project again.
                waiting.add(pool.submit(self.one, first + n, versions[(first + n) % len(versions)]))
                n += 1
                if len(waiting) >= self.arguments.jobs:
                    done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                    for future in done:
                        future.result()
            for future in waiting:
                future.result()
        print("%s (%s): %d projects from seed %d on, %d tests, %d disagree, in %d s" % (
            self.name, ", ".join(versions), self.passed + self.failed, first, self.tests, self.failed,
            time.monotonic() - started))
        for reason, count in sorted(self.benign.items()):
            print("  in %d projects: %s" % (count, reason))
        return self.failed == 0


def frameworks():
    return sorted(name[:-3] for name in os.listdir(HERE) if name.endswith(".py") and name != "driver.py")


def main():
    parser = argparse.ArgumentParser(prog="./dev fuzz differential")
    parser.add_argument("--runner", required=True, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", metavar="FRAMEWORK|SECONDS", help="default: all, 60 seconds each")
    parser.add_argument("--count", type=int, help="projects of each framework, instead of a time")
    parser.add_argument("--seed", type=int, help="of the first project; the next are the numbers after it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="projects at once")
    parser.add_argument("--keep", default=os.path.join(HERE, "..", "..", "build", "differential"))
    arguments = parser.parse_intermixed_args()
    arguments.keep = os.path.normpath(arguments.keep)
    os.makedirs(arguments.keep, exist_ok=True)
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1000000)
    chosen = [word for word in arguments.words if not word.isdigit()]
    arguments.seconds = int(([word for word in arguments.words if word.isdigit()] or ["60"])[-1])
    for name in chosen:
        if name not in frameworks():
            parser.error("no generator for %s; there are: %s" % (name, ", ".join(frameworks())))
    sys.path.insert(0, HERE)
    passed = failed = 0
    for name in chosen or frameworks():
        fuzz = Fuzz(name, arguments)
        fuzz.run()
        passed, failed = passed + fuzz.passed, failed + fuzz.failed
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
