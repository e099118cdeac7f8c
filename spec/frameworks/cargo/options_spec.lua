--- What each option of the framework does, the environment of tests, and that nothing new is ever overlooked.

local async = require("spec.support.async")
local cargo = require("spec.support.cargo")
local finished = require("spec.support.finished_run")
local process = require("runner.io.process")
local project = require("spec.support.project")

local PASSES = "#[test] fn passes() {}\n"

--- The ids of what ran, sorted.
local function ids(dir)
  local list = {}
  for id in pairs(finished.states(dir)) do list[#list + 1] = id end
  table.sort(list)
  return list
end

--- A test that writes its environment and folder to a file.
local DUMP = [[
#[test] fn dumps() {
  let mut lines: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value:?}")).collect();
  lines.sort();
  lines.push(std::env::current_dir().unwrap().display().to_string());
  std::fs::write(std::env::var("DUMP").unwrap(), lines.join("\n")).unwrap();
}]]

describe("frameworks.cargo", function()
  after_each(cargo.reset)

  it("selects packages, targets, features and profiles as cargo does", async(function()
    cargo.need(pending)
    local dir = cargo.new({
      ["Cargo.toml"] = '[workspace]\nmembers = ["other"]\n[features]\nextra = []\n[profile.fast]\ninherits = "dev"\n',
      ["other/Cargo.toml"] = '[package]\nname = "other"\nversion = "0.1.0"\nedition = "2021"\n',
      ["other/src/lib.rs"] = PASSES,
      ["src/lib.rs"] = PASSES .. '#[cfg(feature = "extra")] #[test] fn extra() {}\n'
        .. '#[test] fn optimised() { assert!(std::env::current_exe().unwrap().to_str().unwrap().contains("/fast/")) }',
      ["src/bin/tool.rs"] = "fn main() {}\n" .. PASSES, ["src/bin/tool-2.rs"] = "fn main() {}\n" .. PASSES,
      ["tests/first.rs"] = PASSES, ["tests/second.rs"] = PASSES,
      ["examples/sample.rs"] = "fn main() {}\n" .. PASSES, ["benches/bench.rs"] = PASSES,
    })
    local function selected(options, expected)
      cargo.configure(dir, options)
      local _, text = cargo.run(dir)
      assert.are.same(expected, ids(dir), text)
    end
    selected("", {
      "sample$optimised", "sample$passes", "sample::bin/tool$passes", "sample::bin/tool-2$passes",
      "sample::first$passes", "sample::second$passes",
    })
    selected("lib = true, workspace = true", { "other$passes", "sample$optimised", "sample$passes" })
    selected('package = "other"', { "other$passes" })
    selected('workspace = true, exclude = { "sample" }', { "other$passes" })
    selected('bin = "tool*"', { "sample::bin/tool$passes", "sample::bin/tool-2$passes" })
    selected('test = { "first", "second" }', { "sample::first$passes", "sample::second$passes" })
    selected('example = "sample", bench = "bench"', { "sample::bench/bench$passes", "sample::example/sample$passes" })
    selected('lib = true, features = { "extra" }', { "sample$extra", "sample$optimised", "sample$passes" })
    selected("lib = true, all_features = true", { "sample$extra", "sample$optimised", "sample$passes" })
    selected('manifest_path = "other/Cargo.toml"', { "other$passes" })
    selected('working_dir = "other"', { "other$passes" })
    assert.are.equal("other/src/lib.rs", finished.find(dir, "test").file)
    selected('args = { "--offline", "--package", "other" }', { "other$passes" })

    cargo.configure(dir, 'lib = true, profile = "fast"')
    local result, text = cargo.run(dir)
    assert.are.equal(0, result.code, text)
    -- Two binaries with tests of the same names, side by side.
    assert.are.equal("passed", finished.states(dir)["sample$optimised"])
  end))

  it("gives tests the environment and the folder that cargo gives them", async(function()
    cargo.need(pending)
    local dir = cargo.new({
      ["Cargo.toml"] = 'authors = ["Somebody"]\ndescription = """two\nlines, \'quoted\' = yes"""\nlicense = "MIT"\n',
      ["src/main.rs"] = "fn main() {}",
      ["tests/dump.rs"] = DUMP,
      ["build.rs"] = [[fn main() {
        let out = std::env::var("OUT_DIR").unwrap();
        println!("cargo:rustc-env=FROM_BUILD=a = b");
        println!("cargo:rustc-link-search=native={out}/lib");
      }]],
      [".cargo/config.toml"] = '[env]\nFROM_CONFIG = "c d"\nDIR = { value = "x", relative = true }\n',
    }, 'env = { DUMP = "ours", MINE = "yes" }', '{ env = { NEWLINE = "a\\nb" } }')
    local result, text = cargo.run(dir, "dumps")
    assert.are.equal(0, result.code, text)
    local theirs = process.run({ "cargo", "test", "--test=dump", "--", "--exact", "dumps" }, {
      cwd = dir, env = { DUMP = "theirs", MINE = "yes", NEWLINE = "a\nb" },
    })
    assert.are.equal(0, theirs.code, theirs.stderr)
    local function lines(name)
      local list = {}
      for line in project.read(dir .. "/" .. name):gmatch("[^\n]+") do
        if not line:find("^RUNNER_") and not line:find("^DUMP=") then list[#list + 1] = line end
      end
      return list
    end
    assert.are.same(lines("theirs"), lines("ours"))
    local ours = project.read(dir .. "/ours")
    for _, part in ipairs({
      'FROM_BUILD="a = b"', 'FROM_CONFIG="c d"', 'CARGO_PKG_DESCRIPTION="two\\nlines', "OUT_DIR=", "/out/lib:",
      'RUNNER_TEST_ID="sample::dump$dumps"', 'RUNNER_ATTEMPT="1"',
    }) do
      assert.matches(part, ours, 1, true)
    end
  end))

  it("finds what was added, renamed, removed or ignored since the last run", async(function()
    cargo.need(pending)
    local dir = cargo.new({ ["src/lib.rs"] = PASSES, ["tests/a.rs"] = PASSES })
    local function found(expected)
      local _, text = cargo.run(dir)
      assert.are.same(expected, finished.states(dir), text)
    end
    found({ ["sample$passes"] = "passed", ["sample::a$passes"] = "passed" })
    found({ ["sample$passes"] = "passed", ["sample::a$passes"] = "passed" })
    project.write(dir, { ["tests/a.rs"] = PASSES .. "#[test] fn more() {}\n" })
    found({ ["sample$passes"] = "passed", ["sample::a$passes"] = "passed", ["sample::a$more"] = "passed" })
    project.write(dir, { ["tests/a.rs"] = "#[test] fn fresh() {}\n#[test] #[ignore] fn more() {}\n" })
    found({ ["sample$passes"] = "passed", ["sample::a$fresh"] = "passed", ["sample::a$more"] = "skipped" })
    project.remove(dir .. "/tests")
    found({ ["sample$passes"] = "passed" })
  end))

  for words, count in pairs({
    ["words of its own"] = "", ["those of libtest"] = 'println!("\\n{n} tests, 0 benchmarks")',
  }) do
    it("asks a harness of the project's own, in " .. words .. ", each time what it has", async(function()
      cargo.need(pending)
      local dir = cargo.new({
        ["Cargo.toml"] = '[[test]]\nname = "files"\nharness = false\n',
        ["tests/files.rs"] = ([[#[allow(unused)] fn main() {
          let words: Vec<String> = std::env::args().collect();
          if !words.contains(&"--list".to_string()) { return }
          let mut n = 0;
          for entry in std::fs::read_dir("data").unwrap() {
            if words.contains(&"--ignored".to_string()) { break }
            println!("{}: test", entry.unwrap().file_name().to_str().unwrap());
            n += 1;
          }
          COUNT
        }]]):gsub("COUNT", count),
        ["data/one"] = "",
      }, 'test = "files"')
      cargo.run(dir)
      assert.are.same({ "sample::files$one" }, ids(dir))
      project.write(dir, { ["data/two"] = "" })
      cargo.run(dir)
      assert.are.same({ "sample::files$one", "sample::files$two" }, ids(dir))
    end))
  end

  it("blames the tests that hang or crash in a process of many, and runs the others", async(function()
    cargo.need(pending)
    local lines = {}
    for i = 1, 60 do
      local body = i % 20 == 0 and "std::process::abort()" or i == 30 and "loop { std::thread::park() }"
        or ('println!("this is %d"); eprintln!("and so is %d")'):format(i, i)
      lines[i] = ("#[test] fn t%02d() { %s }"):format(i, body)
    end
    local dir = cargo.new({ ["src/lib.rs"] = table.concat(lines, "\n") }, 'isolation = "binary"',
      '{ test_timeout = "2s", grace = "1s" }')
    local result, text = cargo.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({ passed = 56, crashed = 3, timed_out = 1 }, finished.counts(dir), text)
    assert.are.equal("timed_out", finished.states(dir)["sample$t30"])
    assert.are.equal("crashed", finished.states(dir)["sample$t40"])
    for _, i in ipairs({ 1, 29, 31, 59 }) do
      assert.are.equal(("this is %d\nand so is %d\n"):format(i, i), finished.output(dir, ("sample$t%02d"):format(i)))
    end
  end))
end)
