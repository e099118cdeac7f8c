--- Sandboxes that cannot see this machine's files: binaries are built here and sent, with what belongs to them.

local uv = require("luv")
local async = require("spec.support.async")
local boxes = require("spec.support.boxes")
local cargo = require("spec.support.cargo")
local dockerd = require("spec.support.dockerd")
local example = require("spec.support.example")
local finished = require("spec.support.finished_run")
local project = require("spec.support.project")

describe("frameworks.cargo, in containers,", function()
  local image
  if not dockerd.around(function() image = dockerd.busybox() end) then return end

  --- Containers with nothing but a shell and this machine's C library.
  local function configure(dir, options, settings)
    project.write(dir, { ["runner.lua"] = ([[
      local cargo = require "frameworks.cargo"
      return {
        max_parallel = 2, retries = 1, %s
        provider = require "providers.docker" {
          image = %q, volumes = { "/lib:/lib:ro", "/lib64:/lib64:ro", "/usr/lib:/usr/lib:ro" },
        },
        framework = cargo { %s },
      }
    ]]):format(settings or "", image, options) })
  end

  it("sends what was built here, once, and runs every test of the example as expected", async(function()
    cargo.need(pending)
    local dir = example.copy("cargo")
    configure(dir, "workspace = true", 'test_timeout = "3s",')
    local result, text = cargo.run(dir)
    assert.are.equal(1, result.code, text)
    local expected = example.expected("cargo")
    for id in pairs(expected) do
      if id:find("::doc$", 1, true) then expected[id] = nil end
    end
    assert.are.same(expected, finished.states(dir), text)
    assert.are.same({}, finished.events(dir, "problem"))
    assert.are.equal(2, #finished.events(dir, "sandbox_ready"))
    -- Each container got the project and the build; neither is the whole of the other.
    local syncs = finished.events(dir, "sync")
    assert.are.equal(4, #syncs)
    for _, sync in ipairs(syncs) do assert.is_true(sync.files < 60, sync.files) end
    assert.is_nil(uv.fs_stat(dir .. "/target/debug/.rustlib"))
  end))

  it("rewrites the paths of tests' environment, and brings build scripts' files", async(function()
    cargo.need(pending)
    local dir = cargo.new({
      ["src/main.rs"] = 'fn main() { println!("the program") }',
      ["build.rs"] = [[fn main() {
        let out = std::env::var("OUT_DIR").unwrap();
        std::fs::write(out + "/made", "by the build script").unwrap();
      }]],
      ["data/file"] = "of the project",
      ["tests/paths.rs"] = [[
        use std::{env, fs, process::Command};
        #[test] fn paths() {
          let read = |name: &str, file: &str| fs::read_to_string(env::var(name).unwrap() + file).unwrap();
          assert_eq!(read("OUT_DIR", "/made"), "by the build script");
          assert_eq!(read("CARGO_MANIFEST_DIR", "/data/file"), "of the project");
          assert_eq!(fs::read_to_string("data/file").unwrap(), "of the project");
          let mut program = env::current_exe().unwrap();
          program.pop();
          program.pop();
          assert_eq!(Command::new(program.join("sample")).output().unwrap().stdout, b"the program\n");
          for (name, value) in env::vars() {
            assert!(name == "LD_LIBRARY_PATH" || !value.contains(env!("CARGO_MANIFEST_DIR")), "{name}={value}");
          }
          assert!(env::var("CARGO").is_err() && env::var("RUSTUP_HOME").is_err());
        }]],
    })
    configure(dir, 'test = "paths"')
    local link = project.new() .. "/link"
    assert(uv.fs_symlink(dir, link))
    local result, text = cargo.run(dir, link .. "/runner.lua") -- the configuration's folder is a link
    assert.are.equal(0, result.code, text)
    assert.are.same({ ["sample::paths$paths"] = "passed" }, finished.states(dir), text)
  end))

  it("shows compile errors of the build here, and says what is missing there", async(function()
    cargo.need(pending)
    local dir = cargo.new({ ["src/lib.rs"] = "#[test] fn t() { 1 + }" })
    configure(dir, "")
    local result, text = cargo.run(dir)
    assert.are.equal(1, result.code, text)
    assert.matches("src/lib.rs:1:", finished.find(dir, "problem", { kind = "collection" }).text, 1, true)

    for options, part in pairs({
      ['build = "sandbox"'] = "install Rust where the tests run, in the image or by init_command, or set",
      ["doc = true"] = "install Rust where the tests run, in the image or by init_command, or set",
      ['via = "nextest"'] = "install Rust where the tests run, in the image or by init_command, or set",
      ['cargo = "/no/such/cargo"'] = "cannot run /no/such/cargo",
    }) do
      configure(dir, options)
      result, text = cargo.run(dir)
      assert.are.equal(78, result.code, text)
      assert.matches(part, text, 1, true)
    end
  end))
end)

describe("frameworks.cargo, where no agent can run,", function()
  boxes.around()

  it("builds and runs by plain commands", async(function()
    cargo.need(pending)
    local dir = cargo.new({ ["src/lib.rs"] = [[
      #[test] fn passes() { println!("out"); }
      #[test] fn fails() { assert_eq!(1, 2, "no") }
      #[test] fn aborts() { std::process::abort() }
    ]] })
    for _, isolation in ipairs({ "process", "binary" }) do
      local place = boxes.shells("{}", '{ exec_command = "./exec_without_stdin.sh {sandbox_id} {command}" }',
        ('{ framework = require "frameworks.cargo" { working_dir = %q, isolation = %q } }'):format(dir, isolation))
      local result, text = cargo.run(place)
      assert.are.equal(1, result.code, text)
      assert.are.same({ ["sample$passes"] = "passed", ["sample$fails"] = "failed", ["sample$aborts"] = "crashed" },
        finished.states(place), text)
      assert.matches("out\n", finished.output(place, "sample$passes"), 1, true)
      assert.matches("^assertion .*: no; left: 1; right: 2 ",
        finished.find(place, "attempt_finished", { id = "sample$fails" }).message)
    end
  end))
end)
