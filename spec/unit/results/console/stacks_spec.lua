local stacks = require("runner.results.console.stacks")

local SITE = "/usr/lib/python3/dist-packages"

describe("a stack on the console", function()
  it("has the frames of pytest in one line, in a dump", function()
    assert.are.equal([[
Current thread 0x1 (most recent call first):
  File "/src/tests/test_a.py", line 2 in helper
  File "/src/pytest/test_b.py", line 3 in test_hang
  … 4 frames of the test framework
Thread 0x2 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 9 in wait]], stacks.fold(([[
Current thread 0x1 (most recent call first):
  File "/src/tests/test_a.py", line 2 in helper
  File "/src/pytest/test_b.py", line 3 in test_hang
  File "SITE/_pytest/python.py", line 187 in pytest_pyfunc_call
  File "SITE/pluggy/_execution.py", line 147 in _multicall
  File "/tmp/runner-x/runner_worker/item.py", line 21 in run_item
  File "<frozen runpy>", line 88 in _run_code
Thread 0x2 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 9 in wait]]):gsub("SITE", SITE)))
  end)

  it("has them in one line in a traceback, with their source", function()
    assert.are.equal([[
Traceback (most recent call last):
  … 3 frames of the test framework
  File "/src/test_a.py", line 1, in <module>
    def test(:
             ^
SyntaxError: invalid syntax]], stacks.fold(([[
Traceback (most recent call last):
  File "SITE/_pytest/python.py", line 500, in importtestmodule
    mod = import_path(
          ^^^^^^^^^^^^
  File "/usr/lib/python3.11/importlib/__init__.py", line 126, in import_module
    return _bootstrap._gcd_import(name[level:], package, level)
  File "<frozen importlib._bootstrap>", line 1204, in _gcd_import
  File "/src/test_a.py", line 1, in <module>
    def test(:
             ^
SyntaxError: invalid syntax]]):gsub("SITE", SITE)))
  end)

  it("is left alone where there are few of them, or where it is none", function()
    for _, text in ipairs({
      'File "' .. SITE .. '/pluggy/x.py", line 1 in f\nFile "' .. SITE .. '/pluggy/y.py", line 2 in g\nend',
      "no stack\n  at all", "", 'File "',
    }) do
      assert.are.equal(text, stacks.fold(text))
    end
  end)
end)
