"""The cases with JavaScript tests, against vitest's and jest's own parallel runners."""

import os
from typing import List

import measure
import suites
from case import Bench, Missing, Row, wall_row

FILES = 100
TESTS = 10
MODULES = 20


def _project(folder: str, framework: str, version: str, is_module: bool) -> None:
    """Files of ten tests each, every one with a module of the project under test."""
    modules = f"{suites.CACHE}/npm/{framework}-{version}/node_modules"
    if not os.path.isdir(modules):
        raise Missing(f"{framework} (./dev setup --all)")
    for number in range(MODULES):
        export = "export const add = (x) =>" if is_module else "exports.add = (x) =>"
        suites.write(f"{folder}/src/m{number}.js", f"{export} x + {number}\n")
    for number in range(FILES):
        path = f"../src/m{number % MODULES}.js"
        if is_module:
            head = f"import {{ describe, expect, it }} from 'vitest'\nimport {{ add }} from '{path}'\n"
        else:
            head = f"const {{ add }} = require('{path}')\n"
        tests = "".join(
            f"  it('adds {i}', () => expect(add({i})).toBe({i + number % MODULES}))\n" for i in range(TESTS)
        )
        suites.write(f"{folder}/test/t{number:02}.test.js", f"{head}describe('m{number}', () => {{\n{tests}}})\n")
    kind = '"type": "module", ' if is_module else ""
    suites.write(f"{folder}/package.json", f'{{ {kind}"private": true }}\n')
    suites.write(f"{folder}/runner.lua", f'return {{ max_parallel = 2, framework = "{framework}" }}\n')
    os.symlink(modules, f"{folder}/node_modules")


def _against(bench: Bench, case: str, name: str, argv: List[str]) -> List[Row]:
    first = [bench.runner, "run", "-q", "--no-cache", "runner.lua"]
    samples = bench.compare(
        {
            "runner, tests unknown": lambda: measure.run(first, bench.folder),
            "runner": lambda: bench.run("runner.lua"),
            name: lambda: measure.run(argv, bench.folder),
        }
    )
    return [
        wall_row(case, samples, "runner", name, 1.1),
        wall_row(case, samples, "runner, tests unknown", name, 1.1),
    ]


def vitest100(bench: Bench) -> List[Row]:
    """1,000 tests of vitest in 100 files, each file in a process of its own (vitest's default), 2 at a time."""
    _project(bench.folder, "vitest", "4", True)
    return _against(bench, "vitest100", "vitest", ["node_modules/.bin/vitest", "run", "--maxWorkers=2"])


def jest100(bench: Bench) -> List[Row]:
    """1,000 tests of jest in 100 files, 2 workers."""
    _project(bench.folder, "jest", "30", False)
    return _against(bench, "jest100", "jest", ["node_modules/.bin/jest", "--maxWorkers=2"])


CASES = (vitest100, jest100)
