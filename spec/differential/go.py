"""Random Go modules: what tests, subtests, cleanups, TestMain, examples and fuzz targets do at odd places.

What `go test -json` says is the measure. Where it says nothing of a test, because its process had died before the test
ran or ended, the verdict is that of a process of its own: `go test -run '^Name$'`.
"""

import json
import os
import re
import shutil

from driver import Project, Verdicts, execute

GO = os.environ.get("RUNNER_SPEC_GO", "go")
ENV = dict(os.environ, GOTOOLCHAIN="local", GOFLAGS="", GOPROXY="off")
STATES = {"pass": "passed", "fail": "failed", "skip": "skipped"}

NAMES = ["TestA", "TestB", "Test", "Test_x", "Test1", "TestÜnicode", "TestA1", "TestAA", "TestLonger_name", "TestZ",
         "TestRun", "TestPASS", "TestMainly", "Test\u65e5\u672c"]
SUBNAMES = ["a", "b", "a", "", "with space", "a/b", "sla/sh/es", "#01", "a#01", "ünï", "x (0.00s)", "quo\\\"te",
            "TestA", "new\\nline", "tab\\t", "PASS", "very_" + "long_" * 20]
OUTPUTS = ["said\\n", "no newline", "--- PASS: TestA (0.00s)\\n", "--- FAIL: TestA (0.00s)\\n", "=== RUN   TestB\\n",
           "PASS\\n", "FAIL\\n", "ok  \\texample.com/m\\t0.1s\\n", "\\x16", "\\x16 mark", "    indented --- SKIP: a\\n",
           "\\r\\n", "panic: not one\\n", "\\xff\\x00\\x1b[31m", "FAIL\\texample.com/m\\t0.1s\\n",
           "?   \\tm\\t[no test files]\\n", "\\n\\n"]
MESSAGES = ["oops", "two\\nlines", "", "got 1\\nwant 2", "--- FAIL: TestB (0.00s)"]


def versions():
    if not shutil.which(GO):
        return []
    _, said = execute([GO, "env", "GOVERSION"], "/", ENV)
    return [said.strip()]


class Writer:
    """Writes one package."""

    def __init__(self, rng, name):
        self.rng, self.name, self.imports = rng, name, {"testing"}
        self.can_die = rng.random() < 0.25  # else nothing here ends the process
        self.ends_well = False

    def chance(self, probability):
        return self.rng.random() < probability

    def use(self, *packages):
        self.imports.update(packages)

    def pick(self, choices):
        """One of {choice: weight}."""
        return self.rng.choices(list(choices), list(choices.values()))[0]

    def output(self):
        text = self.rng.choice(OUTPUTS)
        kind = self.rng.randrange(4)
        if kind == 0:
            self.use("os")
            return 'os.Stderr.WriteString("%s")' % text
        if kind == 1:
            return 'print("%s")' % text
        self.use("fmt")
        return 'fmt.Print("%s")' % text

    def end(self, t, is_cleanup=False):
        """A statement by which a test says how it went, or ends."""
        message = self.rng.choice(MESSAGES)
        choices = {"log": 6, "error": 2, "fail": 1, "failnow": 1, "fatal": 1.5, "skip": 1.5, "skipnow": 1}
        if is_cleanup:
            choices["goexit"] = 1
        if self.can_die:
            choices.update({"panic": 0.8, "goexit": 0.8, "exit": 0.5, "nil": 0.3, "goroutine": 0.4, "exit0": 0.2})
        kind = self.pick(choices)
        if kind in ("log", "error", "fatal", "skip"):
            return '%s.%s("%s")' % (t, kind.capitalize(), message)
        if kind in ("fail", "failnow", "skipnow"):
            return "%s.%s()" % (t, {"fail": "Fail", "failnow": "FailNow", "skipnow": "SkipNow"}[kind])
        if kind == "panic":
            return 'panic("%s")' % message
        if kind == "goexit":
            self.use("runtime")
            return "runtime.Goexit()"
        if kind == "exit":
            self.use("os")
            return "os.Exit(%d)" % self.rng.randrange(4)
        if kind == "exit0":
            self.use("syscall")
            self.ends_well = True
            return "syscall.Exit(0)"
        if kind == "nil":
            return "var nothing map[string]int\nnothing[%s.Name()] = 1" % t
        return 'go func() { panic("%s") }()\nselect {}' % message

    def body(self, depth, t="t", parent=None):
        lines, rng = [], self.rng
        if depth < 3 and self.chance(0.3):
            lines.append("%s.Parallel()" % t)
        for _ in range(rng.choice([0, 1, 1, 2, 3])):
            kind = self.pick({"output": 3, "end": 2, "sub": 3 if depth < 3 else 0, "cleanup": 1.5, "defer": 0.7,
                              "wait": 0.5, "helper": 0.5, "parent": 0.4 if parent else 0, "temp": 0.3,
                              "other": 0.4})
            if kind == "output":
                lines.append(self.output())
            elif kind == "end":
                lines.append(self.maybe(self.end(t)))
            elif kind == "sub":
                sub = "%s%d" % (t[0], depth + 1)
                lines.append('%s.Run("%s", func(%s *testing.T) {\n%s\n})' % (
                    t, rng.choice(SUBNAMES), sub, self.body(depth + 1, sub, t)))
            elif kind == "cleanup":
                lines.append("%s.Cleanup(func() {\n%s\n%s\n})" % (
                    t, self.output() if self.chance(0.3) else "", self.end(t, True)))
            elif kind == "defer":
                lines.append("defer func() {\n%s\n}()" % self.end(t))
            elif kind == "wait":
                self.use("time")
                lines.append("time.Sleep(%d * time.Millisecond)" % rng.randrange(1, 15))
            elif kind == "helper":
                lines.append("func() { %s.Helper(); %s.Log(\"from a helper\") }()" % (t, t))
            elif kind == "parent":
                call = rng.choice(["Fail()", "FailNow()", "SkipNow()", 'Error("of the parent")'])
                lines.append("%s.%s" % (parent, call))
            elif kind == "temp":
                lines.append("_ = %s.TempDir()" % t)
            else:  # another goroutine says how it went
                call = rng.choice(["Error(\"elsewhere\")", "Log(\"elsewhere\")", "FailNow()", "SkipNow()"])
                lines.append("{\ndone := make(chan bool)\ngo func() { defer close(done); %s.%s }()\n<-done\n}"
                             % (t, call))
        return "\n".join(lines)

    def maybe(self, statement):
        """Now and then behind a condition that holds, so that vet and the compiler see code after it."""
        return "if len(os_args) >= 0 {\n%s\n}" % statement

    def test(self, name):
        shape = self.pick({"func %s(t *testing.T) {\n%s\n}\n": 8, "/* odd */ func %s(t *testing.T) {\n%s\n}\n": 1,
                           "func\n%s(\n\tt *testing.T) {\n%s\n}\n": 1,
                           "var _ = 0; func %s(t *testing.T) {\n%s\n}\n": 0.5})
        return shape % (name, self.body(0))

    def example(self, suffix):
        self.use("fmt")
        right = self.chance(0.7)
        printed = self.rng.choice(["a", "b\\nc", " d ", "--- PASS: TestA (0.00s)"])
        expected = printed if right else "other"
        panics = 'panic("in an example")\n' if self.can_die and self.chance(0.15) else ""
        comment = "// Output:" if self.chance(0.7) else "// Unordered output:"
        if self.chance(0.15):
            comment = "// Prints:"  # go only compiles it
        return "func Example_%s() {\n%sfmt.Print(\"%s\\n\")\n%s\n%s\n}\n" % (
            suffix, panics, printed, comment, "\n".join("// " + line for line in expected.split("\\n")))

    def fuzz(self, name):
        seeds = "\n".join("f.Add(%d)" % self.rng.randrange(5) for _ in range(self.rng.randrange(3)))
        fail = self.rng.choice(['t.Error("a seed")', "t.Skip()", "t.FailNow()", "_ = n", "t.Log(n)"])
        body = "f.Fuzz(func(t *testing.T, n int) { if n > 1 { %s } })" % fail
        if self.chance(0.15):
            body = self.rng.choice(["f.Skip()", "f.Error(\"no fuzzing\")", ""])
        return "func %s(f *testing.F) {\n%s\n%s\n}\n" % (name, seeds, body)

    def main(self):
        self.use("os")
        noise = self.output() if self.chance(0.6) else ""
        kind = self.pick({"plain": 5, "returns": 2, "after": 1, "before": 0.5, "well": 0.5, "swallows": 0.5,
                          "twice": 0.7, "panics": 0.4, "lists": 0.8, "parallel": 0.5, "leaves": 0.4})
        body = {
            "plain": "os.Exit(m.Run())",
            "returns": "m.Run()",
            "after": "m.Run()\nos.Exit(%d)" % self.rng.randrange(1, 9),
            "before": "os.Exit(%d)" % self.rng.randrange(1, 9),
            "well": "os.Exit(0)",
            "swallows": "m.Run()\nos.Exit(0)",
            "twice": "m.Run()\nos.Exit(m.Run())",
            "panics": self.rng.choice(['panic("set up")', 'm.Run()\npanic("torn down")']),
            "lists": 'flag.Parse()\nif flag.Lookup("test.list").Value.String() != "" { os.Exit(5) }\nos.Exit(m.Run())',
            "parallel": 'flag.Parse()\nflag.Set("test.parallel", "1")\nos.Exit(m.Run())',
            "leaves": "code := m.Run()\n%s\nos.Exit(code)" % self.output(),
        }[kind]
        if "flag." in body:
            self.use("flag")
        self.hides = kind == "swallows"
        self.repeats = kind == "twice"
        return "func TestMain(m *testing.M) {\n%s\n%s\n}\n" % (noise, body)

    hides = repeats = False

    def source(self, clause, parts, first):
        code = "\n".join(parts)
        used = sorted(p for p in self.imports if p == "testing" or re.search(r"\b%s\." % p.split("/")[-1], code))
        if not any("testing." in part for part in parts):
            used = [p for p in used if p != "testing"]
        return "package %s\n\nimport (\n%s)\n\n%s%s" % (
            clause, "".join('"%s"\n' % p for p in used), "var os_args = []string{}\n\n" if first else "", code)


def generate(rng, version):
    module = rng.choice(["example.com/m", "m", "example.com/Mixed-case.v2/x_y"])
    files = {"go.mod": "module %s\n\ngo 1.19\n" % module}
    notes = {"hides": set(), "ends_well": set(), "repeats": set()}
    folders = rng.sample(["a", "b", "in/a", "in/ner", "Test", "p-q", ""], rng.choice([1, 1, 2, 3, 4]))
    for folder in folders:
        name = "p" + re.sub(r"[^a-z]", "", folder.lower())
        package = Writer(rng, name)
        prefix = folder + "/" if folder else ""
        path = module + "/" + folder if folder else module
        tests = rng.sample(NAMES, rng.choice([0, 1, 2, 3, 4, 6]))
        parts = [[], []]
        for test in tests:
            parts[rng.random() < 0.3].append(package.test(test))
        for suffix in rng.sample(["x", "y", "z"], rng.choice([0, 0, 0, 1, 2])):
            parts[0].append(package.example(suffix))
        for test in rng.sample(["FuzzA", "Fuzz_b"], rng.choice([0, 0, 0, 1, 2])):
            parts[0].append(package.fuzz(test))
        if rng.random() < 0.1:
            parts[0].append('func BenchmarkA(b *testing.B) { b.Fatal("not to be run") }\n')
        if rng.random() < 0.35:
            parts[0].append(package.main())
        if rng.random() < 0.04:
            parts[0].append('func init() { panic("in init") }\n')
        if rng.random() < 0.03:
            parts[0].append("var _ int = \"does not build\"\n")
        if rng.random() < 0.1:
            files[prefix + "never_test.go"] = "//go:build never\n\npackage %s\n\nimport \"testing\"\n\n" \
                "func TestNever(t *testing.T) { t.Error() }\n" % name
        if rng.random() < 0.3:
            files[prefix + "code.go"] = "package %s\n\nfunc Double(n int) int { return 2 * n }\n" % name
        for i, clause in enumerate([name, name + "_test" if rng.random() < 0.5 else name]):
            if parts[i]:
                first = i == 0 or clause != name or not parts[0]
                files[prefix + ["a_test.go", "b_test.go"][i]] = package.source(clause, parts[i], first)
        for key, value in (("hides", package.hides), ("ends_well", package.ends_well), ("repeats", package.repeats)):
            if value:
                notes[key].add(path)
    files["runner.lua"] = (
        'local go = require "frameworks.go"\n'
        'return { max_parallel = %d, history = false, test_timeout = "60s",\n'
        '  framework = go { go = "%s", isolation = "%s" } }\n'
        % (rng.choice([1, 2, 3]), GO, rng.choice(["batch", "batch", "batch", "test"])))
    return Project(files, notes)


def read(output):
    """Of `go test -json`: ends by package and test, the tests that began, and how packages ended."""
    ends, began, packages = {}, set(), {}
    for line in output.split("\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        package, test, action = event.get("Package"), event.get("Test"), event.get("Action")
        if package and not test and action in STATES:
            packages[package] = action
        if not package or not test or "/" in test:
            continue
        if action == "run":
            began.add((package, test))
        elif action in STATES:
            ends.setdefault((package, test), set()).add(STATES[action])
    return ends, began, packages


def listed(folder, project):
    """The tests of each package as go has them, by its generated main program."""
    shown = "{{if .ForTest}}{{else}}{{.ImportPath}}\t{{range .GoFiles}}{{.}}\t{{end}}{{end}}"
    code, said = execute([GO, "list", "-test", "-e", "-f", shown, "./..."], folder, ENV)
    found = {}
    for line in said.split("\n"):
        parts = line.split("\t")
        if parts[0].endswith(".test") and len(parts) > 1 and os.path.isabs(parts[1]):
            with open(parts[1], encoding="utf-8") as file:
                main = re.sub(r"var benchmarks = .*?\n}\n", "", file.read(), flags=re.S)
            found[parts[0][:-5]] = re.findall(r'^\t\{"([^"]+)", _', main, re.M)
    return found


def alone(folder, package, test):
    """The state of a test in a process of its own."""
    code, output = execute([GO, "test", "-json", "-count=1", "-run", "^%s$" % test, package], folder, ENV)
    ends, began, packages = read(output)
    states = ends.get((package, test))
    if packages.get(package) == "fail":
        return (states or set()) | {"failed"}  # it, or what surrounds it
    if states:
        return states
    return {"passed"} if (package, test) in began else {"skipped"}


def own(folder, version, project):
    code, output = execute([GO, "test", "-json", "-count=1", "./..."], folder, ENV)
    ends, began, packages = read(output)
    tests = {}
    by_process = 'isolation = "test"' in project.files["runner.lua"]
    for package, names in listed(folder, project).items():
        if "[build failed]" in output and packages.get(package) == "fail" and not any(
                key[0] == package for key in began) and re.search(
                    r'"Package":"%s","Output":"FAIL\\t%s \[build failed\]'
                    % (re.escape(package), re.escape(package)), output):
            continue
        for name in names:
            states = ends.get((package, name))
            if by_process or not states:
                states = alone(folder, package, name)
            tests["%s.%s" % (package, name)] = states.pop() if len(states) == 1 else frozenset(states)
    return Verdicts(code, tests, output)


def explain(difference, project):
    package = difference.test.rsplit(".", 1)[0]
    notes = project.notes
    if difference.test == "exit code":
        if difference.own == 0 and notes["hides"]:
            return "a TestMain hides the exit code of tests that failed"
        if difference.own == 0 and notes["ends_well"]:
            return "a test ends the process with exit code 0, which go takes for success"
    elif package in notes["ends_well"] and difference.ours == "failed":
        return "a test ends the process with exit code 0, which go takes for success"
    return None
