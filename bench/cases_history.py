"""The history of many tests: read, asked, written."""

import json
import statistics
import subprocess
from typing import List

import measure
from case import Bench, Row

TESTS = 100_000
SAMPLES = 10

# Every test passed in each of ten runs; the times are log-normal.
FILL = """\
local format = require("runner.history.format")
local path, count, samples = arg[1], tonumber(arg[2]), tonumber(arg[3])
local out, keys = { format.header(samples) }, {}
for i = 1, samples do
  keys[i] = format.run_key("run-" .. i, 1700000000 + i * 3600)
  out[#out + 1] = format.run(keys[i], { id = "run-" .. i, places = { { "local", "host", 1 } }, whole = { "unit" } })
end
for i = 1, count do
  local file = ("tests/unit/test_module_%04d.py"):format(i // 100)
  local passed = {}
  for _, key in ipairs(keys) do
    passed[#passed + 1] = key
    passed[#passed + 1] = format.round(math.exp(math.sqrt(-2 * math.log(1 - math.random()))
      * math.cos(2 * math.pi * math.random())) / 10)
  end
  out[#out + 1] = format.test(format.key("unit", ("%s::TestCase::test_%03d"):format(file, i % 100)), {
    s = passed[2], p95 = passed[2], last = { keys[samples], "passed" }, file = #file, n = { samples, 0 }, flaky = {},
    samples = { passed = passed },
  })
end
out[#out + 1] = ""
local file = assert(io.open(path, "wb"))
file:write(table.concat(out, "\\n"))
file:close()
"""

ASK = """\
local uv = require("luv")
local history = require("runner.history")
local path, count, run = arg[1], tonumber(arg[2]), arg[3]
local function cpu_of(fn)
  local before = os.clock()
  fn()
  return os.clock() - before
end
local started = uv.hrtime()
local known = history.open(path, { is_shared = true })
local loading = (uv.hrtime() - started) / 1e9
local tests = {}
for i = 1, count do
  local file = ("tests/unit/test_module_%04d.py"):format(i // 100)
  tests[i] = { id = ("%s::TestCase::test_%03d"):format(file, i % 100), group = "unit", file = file }
end
local asking = cpu_of(function()
  for _, test in ipairs(tests) do assert(select(2, known:estimate(test)) and known:p95(test)) end
end)
local recorder = known:recorder({ whole = true, warn = error })
local function emit(event)
  event.time = 1800000000
  recorder:event(event)
end
emit({ event = "run_started", run = run })
emit({ event = "sandbox_started", sandbox = "s", provider = "local" })
emit({ event = "sandbox_ready", sandbox = "s", host = "host" })
emit({ event = "discovered" })
for _, test in ipairs(tests) do emit({ event = "test", id = test.id, group = test.group, file = test.file }) end
for _, test in ipairs(tests) do
  emit({ event = "attempt_finished", id = test.id, sandbox = "s", status = "passed", duration = 0.1 })
  emit({ event = "test_finished", id = test.id, status = "passed" })
end
emit({ event = "run_finished" })
known, tests = nil, nil
local recording = cpu_of(function() recorder:close() end)
print(require("cjson").encode({ loading = loading, asking = asking, recording = recording }))
"""

PEER = """\
import json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    for line in file:
        json.loads(line)
"""


def history100k(bench: Bench) -> List[Row]:
    """A history of 100,000 tests, 10 samples each: loaded, asked for each, and a run of all recorded."""
    path = f"{bench.folder}/history.jsonl"
    for name, script in {"fill": FILL, "ask": ASK}.items():
        with open(f"{bench.folder}/{name}.lua", "w", encoding="ascii") as file:
            file.write(script)
    fill = [bench.runner, "lua", f"{bench.folder}/fill.lua", path, str(TESTS), str(SAMPLES)]
    subprocess.run(fill, check=True)
    taken = {"loading": [], "asking": [], "recording": [], "peer": []}
    for turn in range(bench.repeat):
        ask = [bench.runner, "lua", f"{bench.folder}/ask.lua", path, str(TESTS), f"turn-{turn}"]
        done = subprocess.run(ask, check=True, capture_output=True, text=True)
        for what, seconds in json.loads(done.stdout).items():
            taken[what].append(seconds)
        peer = measure.run(["/usr/bin/python3", "-c", PEER, path], bench.folder)
        taken["peer"].append(peer.wall)
        bench.progress(f"history: {turn + 1}/{bench.repeat}: " + done.stdout.strip())
    median = {what: statistics.median(list_) for what, list_ in taken.items()}

    def each(what: str) -> float:
        return median[what] / TESTS * 1e6

    return [
        Row(
            "history100k",
            f"load {TESTS:,} tests / Python's json.loads of each line",
            f"{median['loading']:.3f} s",
            f"{median['peer']:.3f} s",
            median["loading"],
            1.0,
            unit="s",
        ),
        Row("history100k", "CPU to ask for one test: estimate, P95", f"{each('asking'):.2f} µs", "",
            each("asking"), 10, unit="µs"),
        Row("history100k", "CPU to record one test", f"{each('recording'):.1f} µs", "",
            each("recording"), 100, unit="µs"),
    ]


CASES = (history100k,)
