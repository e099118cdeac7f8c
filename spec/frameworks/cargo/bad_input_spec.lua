--- Rust projects that do not compile, harnesses that list nothing or garbage, tests that lie: what runner says of them.

local async = require("spec.support.async")
local cargo = require("spec.support.cargo")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")

local PASSES = "#[test] fn passes() {}\n"

--- A harness of its own: `list` is what it does when it is asked for its tests, `run` otherwise.
local function harness(list, run)
  return ([[fn main() {
    let words: Vec<String> = std::env::args().collect();
    let _ = &words;
    if words.iter().any(|word| word == "--list") { %s } else { %s }
  }]]):format(list, run or "")
end

local function manifest(...)
  local parts = {}
  for i, name in ipairs({ ... }) do parts[i] = ('[[test]]\nname = "%s"\nharness = false\n'):format(name) end
  return table.concat(parts)
end

local function messages(dir)
  local list = {}
  for _, problem in ipairs(finished.events(dir, "problem")) do
    assert.are.equal("collection", problem.kind)
    list[#list + 1] = problem.message
  end
  table.sort(list)
  return list
end

describe("frameworks.cargo, of bad input,", function()
  after_each(cargo.reset)

  it("shows compile errors whole, once each, exits 1 and runs nothing", async(function()
    cargo.need(pending)
    local dir = cargo.new({
      ["src/lib.rs"] = "pub fn f() -> u8 { \"text\" }\npub fn g() -> u8 { missing() }\n" .. PASSES,
      ["tests/other.rs"] = PASSES,
    }, nil, "{ retries = 3 }")
    local result, text = cargo.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({}, finished.states(dir))
    local problems = finished.events(dir, "problem")
    assert.are.equal(1, #problems)
    local problem = problems[1]
    assert.are.same({ "collection", "sample" }, { problem.kind, problem.id })
    assert.matches("^sample does not compile: ", problem.message)
    local parts = { "mismatched types", "src/lib.rs:1:20", "cannot find function `missing`", "src/lib.rs:2:20" }
    for _, part in ipairs(parts) do
      assert.are.equal(1, select(2, problem.text:gsub(part:gsub("%p", "%%%0"), "")), part)
      assert.matches(part, text, 1, true)
    end

    -- Of a test alone: its own name.
    project.write(dir, { ["src/lib.rs"] = PASSES, ["tests/other.rs"] = "#[test] fn t() { 1 + }\n" })
    result, text = cargo.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.equal("sample::other", finished.find(dir, "problem").id)

    project.write(dir, { ["build.rs"] = 'fn main() { println!("said before"); panic!("no such library") }' })
    result, text = cargo.run(dir)
    assert.are.equal(1, result.code, text)
    problem = finished.find(dir, "problem")
    assert.matches("failed to run custom build command for `sample", problem.message, 1, true)
    assert.matches("said before.*no such library", problem.text)
  end))

  it("shows compile errors of doctests' libraries, and those that cargo-nextest meets", async(function()
    cargo.need(pending)
    local dir = cargo.new({ ["src/lib.rs"] = "pub fn f() -> u8 { \"text\" }\n" }, "doc = true")
    local result, text = cargo.run(dir)
    assert.are.equal(1, result.code, text)
    assert.matches("mismatched types", finished.find(dir, "problem").text, 1, true)
    cargo.need_nextest(pending)
    cargo.configure(dir, 'via = "nextest"')
    result, text = cargo.run(dir)
    assert.are.equal(1, result.code, text)
    assert.matches("mismatched types", finished.find(dir, "problem").text, 1, true)
  end))

  it("says which binaries list nothing useful, and runs the others", async(function()
    cargo.need(pending)
    local names = { "dies", "fails", "garbage", "half", "hangs", "loud", "silent", "twice", "whole" }
    local dir = cargo.new({
      ["Cargo.toml"] = manifest(table.unpack(names)),
      ["src/lib.rs"] = PASSES,
      ["tests/dies.rs"] = harness("std::process::abort()"),
      ["tests/fails.rs"] = harness('println!("a: test"); eprintln!("no database"); std::process::exit(3)'),
      ["tests/garbage.rs"] = harness('println!("unknown option {}", words[1])', "std::process::exit(7)"),
      ["tests/half.rs"] = harness('println!("starting up\\na: test")'),
      ["tests/hangs.rs"] = harness("loop { std::thread::park() }"),
      ["tests/loud.rs"] = harness('let line = "x".repeat(1 << 20); for _ in 0..100 { println!("{line}") }'),
      ["tests/silent.rs"] = harness("", 'println!("ran whole: {}", words.len())'),
      ["tests/twice.rs"] = harness('if !words.contains(&"--ignored".into()) { println!("a: test\\na: test") }'),
      ["tests/whole.rs"] = "fn main() { std::process::abort() }",
      -- libtest, but something prints on top of it
      ["tests/chatty.rs"] = [[
        #[used] #[link_section = ".init_array"] static SAY: extern "C" fn() = say;
        extern "C" fn say() { println!("hello from before main") }
        #[test] fn a() {}]],
      ["tests/liar.rs"] = [[
        #[used] #[link_section = ".init_array"] static SAY: extern "C" fn() = say;
        extern "C" fn say() { println!("not_a_test: test") }
        #[test] fn a() {}]],
      ["tests/empty.rs"] = "",
    }, 'list_timeout = "3s"')
    local result, text = cargo.run(dir)
    assert.are.equal(1, result.code, text)
    assert.are.same({
      ["sample$passes"] = "passed", ["sample::garbage"] = "failed", ["sample::silent"] = "passed",
      ["sample::twice$a"] = "passed",
    }, finished.states(dir), text)
    assert.are.equal("ran whole: 1\n", finished.output(dir, "sample::silent"))
    assert.are.same({
      "sample::chatty: --list printed a line that names no test: hello from before main",
      "sample::dies: --list failed: ended by SIGABRT",
      "sample::fails: --list --format terse failed: exit status 3",
      "sample::half: --list printed a line that names no test: starting up",
      "sample::hangs: --list did not end in time and was stopped",
      "sample::liar: --list named 2 tests, but counted 1",
      "sample::loud: --list printed more than 64 MiB",
      "sample::whole: --list failed: ended by SIGABRT",
    }, messages(dir), text)
    assert.matches("no database", finished.find(dir, "problem", { id = "sample::fails" }).text, 1, true)
    assert.matches("sample::twice lists a twice: it is one test", text, 1, true)
  end))

  it("does not take a process that ends early, or runs nothing, for a test that passed", async(function()
    cargo.need(pending)
    local dir = cargo.new({ ["src/lib.rs"] = [[
      #[test] fn exits() { std::process::exit(0) }
      #[test] fn exits_3() { println!("about to"); std::process::exit(3) }
      #[test] fn lies() {
        print!("\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\nok");
        panic!("after all")
      }
      #[test] fn passes() { println!("test lies ... FAILED\nok\nfailures:\n"); }
      #[test] fn prints_no_line() { print!("half"); }
    ]] })
    local expected = {
      ["sample$exits"] = "failed", ["sample$exits_3"] = "failed", ["sample$lies"] = "failed",
      ["sample$passes"] = "passed", ["sample$prints_no_line"] = "passed",
    }
    for _, isolation in ipairs({ "process", "binary" }) do
      cargo.configure(dir, ('isolation = "%s"'):format(isolation))
      local result, text = cargo.run(dir)
      assert.are.equal(1, result.code, text)
      assert.are.same(expected, finished.states(dir), text)
      assert.matches("after all", finished.find(dir, "attempt_finished", { id = "sample$lies" }).message, 1, true)
    end
    assert.are.equal("half\n", finished.output(dir, "sample$prints_no_line"))
    assert.are.equal("test lies ... FAILED\nok\nfailures:\n\n", finished.output(dir, "sample$passes"))
    cargo.configure(dir)
    cargo.run(dir, "exits")
    assert.are.equal("the process exited with status 0 before the test had ended",
      finished.find(dir, "attempt_finished", { id = "sample$exits" }).message)
  end))

  it("says what is wrong with the configuration", async(function()
    cargo.need(pending)
    local dir = cargo.new({ ["src/lib.rs"] = PASSES })
    local function refused(options, part)
      cargo.configure(dir, options)
      local result, text = cargo.run(dir)
      assert.are.equal(78, result.code, text)
      assert.matches(part, text, 1, true)
    end
    refused('package = "nobody"', "package ID specification `nobody` did not match any packages")
    refused('test = "missing"', "no test target named `missing`")
    refused('features = "nope"', "nope")
    refused('cargo = "/no/such/cargo"', "): install Rust, or set cargo = ")
    refused('via = "nextest", cargo = "/no/such/cargo"', "cannot run /no/such/cargo (exit status 127): install Rust")
    refused('doc = true, cargo = "/no/such/cargo"', "cannot run /no/such/cargo (")
    refused('working_dir = "src", manifest_path = "Cargo.toml"', "manifest path `Cargo.toml` does not exist")
    refused('doc = true, test = "a"', "framework cargo: test means nothing with doc = true")
    refused('nextest_profile = "ci"', 'nextest_profile means nothing without via = "nextest"')
    refused([[via = "nextest", cargo = { "sh", "-c", "echo 'no such command: `nextest`' >&2; exit 101" }]],
      "cargo-nextest is not installed: install it (cargo install")
    refused('build_timeout = "1s", cargo = { "sh", "-c", "sleep 60" }', "did not end in time")
    project.write(dir, { [".cargo/config.toml"] = '[target.x86_64-unknown-linux-gnu]\nrunner = "env"\n'
      .. '[target.aarch64-unknown-linux-gnu]\nrunner = "env"\n' })
    refused("", 'set via = "nextest", which uses it')
    project.write(dir, { [".cargo/config.toml"] = "[target.'cfg(unix)']\nrunner = \"env\"\n" })
    refused("", 'set via = "nextest", which uses it')
  end))
end)
