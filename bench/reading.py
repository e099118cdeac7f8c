"""Reading reports: JUnit XML of 200 MB."""

import os
import sys
from typing import List

import measure
from case import MEGABYTE, Bench, Row, wall_row

SIZE = 200 * 1000 * 1000
READ = """\
local cases = 0
local summary = require("runner.junit").read(arg[1], function() cases = cases + 1 end)
assert(summary.complete and cases == summary.cases and cases == tonumber(arg[2]))
"""
# The reader that Python brings along, which is C, too; it keeps the cases no more than ours does.
PEER = """\
import sys, xml.etree.ElementTree as tree
cases = 0
for _, element in tree.iterparse(sys.argv[1]):
    if element.tag == "testcase":
        cases += 1
        element.clear()
assert cases == int(sys.argv[2])
"""
LINE = "12:00:00.001 INFO shop.cart: took 3 apples -&gt; 2.40 EUR, as the test asked for\n"
TRACE = '  File "tests/test_cart.py", line 12, in test_total\n    assert total(cart) == 240\n'


def _case(number: int) -> str:
    """A tenth of the cases fail with a trace, all have printed something."""
    failure = ""
    if number % 10 == 0:
        failure = f'<failure message="assert 1 == 2" type="AssertionError">{TRACE * 12}</failure>'
    return (
        f'<testcase classname="tests.test_cart.TestCart" name="test_total[{number}]" time="0.012">'
        f"{failure}<system-out>{LINE * 8}</system-out></testcase>\n"
    )


def _bare_case(number: int) -> str:
    return f'<testcase classname="tests.test_cart.TestCart" name="test_total[{number}]" time="0.012"/>\n'


def _report(path: str, case, size: int) -> int:
    """Writes a report of about so many bytes; returns how many cases it has."""
    written, number = 0, 0
    with open(path, "w", encoding="ascii") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<testsuites><testsuite name="pytest">\n')
        while written < size:
            text = case(number)
            file.write(text)
            written += len(text)
            number += 1
        file.write("</testsuite></testsuites>\n")
    return number


def junit200m(bench: Bench) -> List[Row]:
    """A JUnit report of 200 MB, read case by case; and one whose cases hold nothing, beside Python's iterparse."""
    script = f"{bench.folder}/read.lua"
    with open(script, "w", encoding="ascii") as file:
        file.write(READ)
    counts = {
        name: _report(f"{bench.folder}/{name}.xml", case, size)
        for name, case, size in (("full", _case, SIZE), ("bare", _bare_case, SIZE), ("empty", _bare_case, 1))
    }

    def ours(name: str, watch=None) -> measure.Sample:
        argv = [bench.runner, "lua", script, f"{bench.folder}/{name}.xml", str(counts[name])]
        return measure.run(argv, bench.folder, watch=watch)

    def peer(name: str) -> measure.Sample:
        argv = [sys.executable, "-c", PEER, f"{bench.folder}/{name}.xml", str(counts[name])]
        return measure.run(argv, bench.folder)

    full = bench.compare({"runner": lambda: ours("full"), "iterparse": lambda: peer("full")})
    bare = bench.compare({"runner": lambda: ours("bare"), "iterparse": lambda: peer("bare")})
    peaks = {}
    for name in ("full", "empty"):
        memory = measure.HostMemory()
        while memory.host == 0:  # it may be over before the first look
            ours(name, watch=memory)
        peaks[name] = memory.host
        bench.progress(f"runner: {name}: peak {memory.host / MEGABYTE:.1f} MB")
    size = os.path.getsize(f"{bench.folder}/full.xml") / 1e6
    # One thread that waits for nothing: by CPU, so that the figure does not depend on who else is busy.
    rates = {name: size / measure.median_cpu(samples) for name, samples in full.items()}
    growth = max(0, peaks["full"] - peaks["empty"]) / MEGABYTE
    return [
        Row(
            "junit200m",
            "reading 200 MB, per second of CPU: runner, and Python's iterparse",
            f"{rates['runner']:.0f} MB/s",
            f"{rates['iterparse']:.0f} MB/s",
            rates["runner"],
            100,
            unit="MB/s",
            at_least=True,
        ),
        Row(
            "junit200m",
            "peak resident above that of reading one case",
            f"{peaks['full'] / MEGABYTE:.1f} MB",
            "",
            growth,
            20,
            unit="MB",
        ),
        wall_row(
            "junit200m",
            {"runner, bare cases": bare["runner"], "iterparse": bare["iterparse"]},
            "runner, bare cases",
            "iterparse",
            0.6,
        ),
    ]


CASES = (junit200m,)
