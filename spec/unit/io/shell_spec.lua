--- Command lines of a configuration as processes.

local async = require("spec.support.async")
local eventually = require("spec.support.eventually")
local project = require("spec.support.project")
local shell = require("runner.io.shell")

describe("runner.shell", function()
  after_each(project.remove_all)

  it("ends what is stopped in a group whose first process ends in time", async(function()
    local dir = project.new({})
    local function state(pid) return (project.read(("/proc/%s/stat"):format(pid)) or ""):match("%) (%a)") end
    local ended
    local process = shell.start("sh -c 'echo $$ > stopped; kill -STOP $$; sleep 1000' & wait", {
      cwd = dir, on_output = function() end, on_exit = function() ended = true end,
    })
    local pid
    eventually(function()
      pid = (project.read(dir .. "/stopped") or ""):match("%d+")
      return pid and state(pid) == "T"
    end)
    process:kill(60000)
    eventually(function() return ended end)
    eventually(function() return state(pid) == nil or state(pid) == "Z" end)
  end))
end)
