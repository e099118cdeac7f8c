--- Folders of this machine as sandboxes of the command provider, with the scripts that make, use and destroy them.

local uv = require("luv")
local assert = require("luassert")
local busted = require("busted")
local names_in = require("runner.base.files").names
local project = require("spec.support.project")
local runner = require("spec.support.command_line")

local M = {}

local SCRIPTS = {
  ["prepare.sh"] = 'echo "$@" >>prepared; echo building; echo image-1; echo',
  ["create.sh"] = [[
    mkdir -p boxes; d=$(mktemp -d "$PWD/boxes/XXXXXX"); echo "$1" >>created
    echo creating; echo; echo "$d"; echo]],
  ["exec.sh"] = 'echo "call $$" >>calls; echo Welcome; cd "$1" && exec sh -c "$2"',
  ["exec_without_stdin.sh"] = 'echo "call $$" >>calls; cd "$1" && exec sh -c "$2" </dev/null',
  ["destroy.sh"] = 'rm -rf "$1"; echo "$1" >>destroyed',
}

--- A project with the scripts; all its files can be run.
function M.new(files)
  local all = {}
  for name, text in pairs(SCRIPTS) do all[name] = "#!/bin/sh\n" .. text .. "\n" end
  for name, text in pairs(files or {}) do all[name] = text end
  local dir = project.new(all)
  for name in pairs(all) do uv.fs_chmod(dir .. "/" .. name, 493) end
  return dir
end

--- A project with lines of shell for tests; `options` is Lua source that adds to the provider's.
function M.shells(tests, options, settings, files)
  files = files or {}
  files["runner.lua"] = ([[
    local options = {
      create_command = "./create.sh {image_id} {cpu_cores}", exec_command = "./exec.sh {sandbox_id} {command}",
      destroy_command = "./destroy.sh {sandbox_id}",
    }
    for key, value in pairs(%s) do options[key] = value or nil end
    local settings = %s
    settings.max_parallel = settings.max_parallel or 2
    settings.provider = require "providers.command" (options)
    settings.framework = settings.framework
      or require "frameworks.command" { tests = %s, run_command = "eval {tests}" }
    return settings
  ]]):format(options or "{}", settings or "{}", tests)
  return M.new(files)
end

--- How many lines a file has.
function M.lines(path)
  return select(2, (project.read(path) or ""):gsub("\n", ""))
end

--- Gives the runners of each test of a `describe` a journal of their own; what a test has started or made is gone
--- after it.
function M.around()
  busted.before_each(function() uv.os_setenv("RUNNER_STATE_DIR", project.new()) end)
  busted.after_each(function()
    runner.kill_all()
    uv.os_unsetenv("RUNNER_STATE_DIR")
    project.remove_all()
  end)
end

--- How many runs' journals there are.
function M.journals()
  return #names_in(os.getenv("RUNNER_STATE_DIR") .. "/live")
end

--- Every sandbox that was created has been destroyed, once, and none is noted.
function M.tidy(dir)
  assert.are.equal(0, M.journals())
  assert.are.equal(M.lines(dir .. "/created"), M.lines(dir .. "/destroyed"))
  assert.are.same({}, names_in(dir .. "/boxes"))
end

return M
