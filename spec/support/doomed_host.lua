--- A host to be killed in the middle of its work: starts fifty commands that resist in various ways, says their pids,
--- and waits. Run by spec/agent/link_spec.lua.

package.path = "./?.lua;" .. package.path -- this folder's, as busted has it

local agents = require("spec.support.agent_process")
local task = require("runner.base.task")

local HIDDEN = [[
  trap '' TERM INT HUP
  (setsid sh -c 'trap "" TERM; echo $$; exec >&- 2>&-; while :; do sleep 100; done' &)
  env -i setsid sh -c 'echo $$; exec sleep 100' &
  echo $$
  while :; do sleep 100; done]]

task.main(function()
  local agent, stream = agents.open()
  print(stream.pid)
  agent:mkdtemp("doomed-", function(path) print("folder " .. path) end)
  local runs = {}
  for i = 1, 50 do
    runs[i] = agents.start(agent, { argv = { "sh", "-c", HIDDEN } })
  end
  for i = 1, 50 do print((runs[i].says("%d+\n%d+\n%d+\n") and runs[i].text():gsub("\n$", ""))) end
  print("ready")
  io.stdout:flush()
  task.event():wait()
end)
