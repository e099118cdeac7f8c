--- The checks of runner.contract: each has a name that says what holds, and raises what does not. `needs`: "agent" for
--- what plain commands cannot do, "state" for what needs two commands to meet.

local task = require("runner.base.task")
local uv = require("luv")

local checks = {}

local function check(name, fn, needs)
  checks[#checks + 1] = { name = name, fn = fn, needs = needs }
end

local function shown(value)
  if type(value) ~= "string" then return tostring(value) end
  local text = ("%q"):format(#value > 80 and value:sub(1, 80) .. "…" or value):gsub("\\\n", "\\n")
  return text
end

local function same(expected, got, what)
  if expected == got then return end
  error(("%s: expected %s, got %s"):format(what, shown(expected), shown(got)), 0)
end

local function holds(condition, message, ...)
  if not condition then error(message:format(...), 0) end
end

local function exited(exit, code)
  same("exited", exit.kind, "how it ended" .. (exit.message and " (" .. exit.message .. ")" or ""))
  same(code, exit.code, "exit code")
end

--- Waits until a process is gone, as the sandbox sees it.
local function gone(world, pid, opened)
  local limit = uv.hrtime() + 10e9
  while true do
    -- A zombie that nobody has reaped yet is as good as gone.
    local script = [[kill -0 $1 2>/dev/null || exit 0
      case $(cat /proc/$1/stat 2>/dev/null) in *") Z "*) ;; *) echo alive;; esac]]
    if world:sh(script, { args = { pid } }, opened) == "" then return end
    holds(uv.hrtime() < limit, "process %s is still alive", pid)
    task.sleep(0.05)
  end
end

local function put(opened, path, bytes, mode)
  local err = task.await(function(resume) opened.agent:put(path, bytes, mode, function(e) resume(e) end) end)
  holds(not err, "put: %s", tostring(err))
end

local function mkdtemp(opened)
  local path, err = task.await(function(resume) opened.agent:mkdtemp("contract-", resume) end)
  holds(path, "mkdtemp: %s", tostring(err))
  return path
end

local function close_agent(opened)
  task.await(function(resume) opened.agent:close(resume) end)
end

function checks.opens(_, opened)
  same("string", type(opened.info.arch), "what it says of its machine")
  holds(opened.slots >= 1, "it has %s slots", tostring(opened.slots))
end

check("output arrives whole, stdout and stderr apart", function(world)
  local out, exit, err = world:sh("i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done")
  exited(exit, 0)
  local expected = {}
  for i = 0, 499 do expected[#expected + 1] = " " .. i .. "\n" end
  same("out" .. table.concat(expected, "out"), out, "stdout")
  same("err" .. table.concat(expected, "err"), (err:gsub("^.-(err 0\n)", "%1"):gsub("\n+$", "\n")), "stderr")
end)

check("output without a final line break has none added", function(world)
  same("no end", world:sh([[printf "no end"]]), "stdout")
  same("", world:sh("true"), "stdout of a silent command")
end)

check("output is binary", function(world)
  local expected = {}
  for i = 0, 255 do expected[i + 1] = string.char(i) end
  local out = world:sh([[i=0; while [ $i -lt 256 ]; do printf "\\$(printf %03o $i)"; i=$((i+1)); done]])
  same(table.concat(expected), out, "the bytes from 0 to 255")
end)

check("4 MiB of output arrive", function(world)
  local out, exit = world:sh([[s=0123456789abcde; s=$s$s$s$s; s=$s$s$s$s; s=$s$s$s$s; i=0;
    while [ $i -lt 4096 ]; do echo "$s$s$s$s$s"; i=$((i+1)); done]])
  exited(exit, 0)
  local line = ("0123456789abcde"):rep(64 * 5) .. "\n"
  holds(out == line:rep(4096), "%d bytes of %d came, or not the right ones", #out, #line * 4096)
end)

check("exit codes are the command's", function(world)
  for _, code in ipairs({ 0, 1, 42, 127, 255 }) do
    local _, exit = world:sh("exit " .. code)
    exited(exit, code)
  end
end)

check("death by a signal is told from an exit", function(world)
  local _, exit = world:sh("kill -SEGV $$")
  same("signaled", exit.kind, "how it ended")
  same(11, exit.signal, "signal")
end)

check("a program that does not exist fails", function(world)
  local _, exit = world:start({ argv = { "/no/such/program" } }).wait()
  holds(exit.kind == "failed" or exit.kind == "exited" and exit.code == 127, "it ended as %s", exit.kind)
end)

check("arguments arrive as they are", function(world)
  local arguments = {
    "a b", "", "it's", [["quoted" \ $HOME `id` $(id)]], "two\nlines", "*", "-n", "ünïcode", "a%sb", "{}",
  }
  local out = world:sh([[for a in "$@"; do printf "<%s>" "$a"; done]], { args = arguments })
  same("<" .. table.concat(arguments, "><") .. ">", out, "arguments")
end)

check("environment variables are set and unset", function(world)
  local value = "it's $HOME \"x\"\nsecond line ünïcode "
  local out = world:sh([[printf "%s|%s|%s" "$ONE" "${TWO-unset}" "${EMPTY-unset}"]], {
    env = { ONE = value, TWO = false, EMPTY = "" },
  })
  same(value .. "|unset|", out, "variables")
end)

check("a command runs in its folder", function(world)
  same("/\n", world:sh("pwd", { cwd = "/" }), "pwd")
  local _, exit = world:sh("pwd", { cwd = "/no/such/folder" })
  same("failed", exit.kind, "the end of a command in a folder that does not exist")
  holds(exit.message:find("/no/such/folder", 1, true), "it does not name the folder: %s", exit.message)
end)

check("20 commands at once do not mix", function(world)
  local runs = {}
  for i = 1, 20 do
    runs[i] = world:start({ argv = { "sh", "-c", ("echo begin %d; sleep 0.1; echo end %d; exit %d"):format(i, i, i) } })
  end
  for i, run in ipairs(runs) do
    local _, exit = run.wait()
    same(("begin %d\nend %d\n"):format(i, i), run.text("stdout"), "output of command " .. i)
    exited(exit, i)
  end
end)

check("commands of one lane run one after the other", function(world)
  local order, runs = {}, {}
  for i = 1, 4 do
    local spec = { argv = { "sh", "-c", i == 1 and "sleep 0.2" or "true" }, lane = 7 }
    runs[i] = world:start(spec)
    local on_start, on_exit = spec.on_start, spec.on_exit
    spec.on_start = function(...)
      order[#order + 1] = "start" .. i
      on_start(...)
    end
    spec.on_exit = function(...)
      order[#order + 1] = "end" .. i
      on_exit(...)
    end
  end
  for _, run in ipairs(runs) do run.wait() end
  same("start1 end1 start2 end2 start3 end3 start4 end4", table.concat(order, " "), "order")
end)

check("a command in its lane that is killed before its turn never runs", function(world)
  local first = world:start({ argv = { "sh", "-c", "sleep 0.3" }, lane = 8 })
  local second = world:start({ argv = { "sh", "-c", "echo ran" }, lane = 8 })
  first.started:wait()
  second.command:kill(0)
  local _, exit = second.wait()
  same("dropped", exit.kind, "how it ended")
  same("", second.text("stdout"), "output")
  exited(select(2, first.wait()), 0)
end)

check("a deadline ends a command", function(world)
  local _, exit = world:sh("sleep 100", { deadline = 0.5, grace = 0.5 })
  same(true, exit.timed_out, "timed_out")
  holds(exit.wall < 30, "it took %g s", exit.wall)
end)

check("a kill asks first: TERM, and KILL after the grace", function(world)
  -- The child says that it is ready: until it is another program, it may have its parent's trap, and lose the signal.
  local polite = world:start({
    argv = { "sh", "-c", "trap 'echo tidy; exit 3' TERM; sh -c 'echo ready; exec sleep 100' & wait" },
  })
  polite.says("ready")
  polite.command:kill(10)
  local _, exit = polite.wait()
  same("ready\ntidy\n", polite.text("stdout"), "output")
  exited(exit, 3)
  same(true, exit.killed, "killed")
  local stubborn = world:start({ argv = { "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done" } })
  stubborn.says("ready")
  stubborn.command:kill(0.3)
  _, exit = stubborn.wait()
  same("signaled", exit.kind, "the end of one that ignores TERM")
  holds(exit.wall < 30, "it took %g s", exit.wall)
end, "state")

check("a kill reaches the whole tree", function(world)
  local script = "sleep 1000 & echo one $!; sh -c 'sleep 1001 & echo two $!; wait' & wait"
  local run = world:start({ argv = { "sh", "-c", script } })
  local one, two = run.says("one (%d+)\n"), run.says("two (%d+)\n")
  run.command:kill(0.2)
  run.wait()
  gone(world, one)
  gone(world, two)
end, "state")

check("files are written whole, with mode and folders", function(world, opened)
  local folder = mkdtemp(opened)
  local bytes = {}
  for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
  local contents = table.concat(bytes):rep(512) -- 128 KiB of all bytes
  put(opened, folder .. "/new folder/it's a file", contents, tonumber("755", 8))
  local out, exit = world:sh([[cat "$1"; [ -x "$1" ] || exit 9]], { args = { folder .. "/new folder/it's a file" } })
  exited(exit, 0)
  same(contents, out, "the file")
  put(opened, folder .. "/empty", "", 384)
  out = world:sh([[[ -f "$1" ] && [ ! -s "$1" ] && echo empty]], { args = { folder .. "/empty" } })
  same("empty\n", out, "an empty file")
end, "state")

check("a file that cannot be written is an error", function(_, opened)
  local err = task.await(function(resume)
    opened.agent:put("/proc/no/such/file", "x", 420, function(e) resume(e) end)
  end)
  holds(err, "it was not")
end, "state")

check("it answers a ping", function(_, opened)
  local err = task.await(function(resume) opened.agent:ping(function(e) resume(e) end) end)
  holds(not err, "%s", tostring(err))
end)

check("stdin reaches a command, and ends", function(world)
  local run = world:start({ argv = { "sh", "-c", "cat; echo over" }, stdin = true })
  local bytes = ("0123456789\0\255\n"):rep(50000)
  run.command:write(bytes, "stdin")
  run.command:close_input("stdin")
  local _, exit = run.wait()
  exited(exit, 0)
  holds(run.text("stdout") == bytes .. "over\n", "%d bytes came back of %d", #run.text("stdout"), #bytes + 5)
end, "agent")

check("the control channel goes both ways", function(world)
  local run = world:start({ argv = { "sh", "-c", "read -r line <&3; echo got $line >&3" }, control = true })
  run.command:write("hello\n")
  local _, exit = run.wait()
  exited(exit, 0)
  same("got hello\n", run.text("control"), "what came back")
end, "agent")

check("CPU time and memory are measured", function(world)
  local _, exit = world:sh("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done")
  holds(exit.user + exit.system > 0, "no CPU time")
  holds(exit.memory > 50000, "%s bytes of memory", tostring(exit.memory))
end, "agent")

check("what a command leaves running is reported, and ended", function(world)
  local out, exit = world:sh("sleep 1234 >/dev/null 2>&1 & echo $!")
  same(1, #exit.leaks, "leaks")
  holds(exit.leaks[1].command:find("sleep 1234", 1, true), "it is called %s", exit.leaks[1].command)
  gone(world, out:match("%d+"))
end, "agent")

check("a second agent works beside the first", function(world, opened)
  local other = world:attach(opened)
  local out = world:sh("echo other", {}, other)
  close_agent(other)
  same("other\n", out, "output")
  same("first\n", world:sh("echo first"), "the first's output after the second's end")
end, "agent")

check("the death of the link ends everything in the sandbox", function(world, opened)
  local doomed = world:attach(opened)
  local run = world:start({ argv = { "sh", "-c", "echo $$; exec sleep 1000" } }, doomed)
  local pid = run.says("(%d+)\n")
  doomed.agent:give_up("the contract cut the link")
  local _, exit = run.wait()
  same("lost", exit.kind, "how the command ended")
  gone(world, pid)
end, "agent")

check("what runs when the agent closes is lost, and ended", function(world, opened)
  local doomed = world:attach(opened)
  local run = world:start({ argv = { "sh", "-c", "echo $$; exec sleep 1000" } }, doomed)
  local pid = run.says("(%d+)\n")
  close_agent(doomed)
  same("lost", select(2, run.wait()).kind, "how the command ended")
  gone(world, pid)
end, "state")

check("a sandbox closes, twice if need be", function(world)
  local own = world:own_sandbox()
  same("here\n", world:sh("echo here", {}, own), "output")
  own:close()
  if own.place.close then own.place:close() end
  local _, exit = world:sh("echo late", {}, own)
  same("lost", exit.kind, "a command after the end")
end)

check("a sandbox closes after its link was lost", function(world)
  local own = world:own_sandbox()
  own.agent:give_up("the contract cut the link")
  holds(own.lost, "the loss was not noticed")
  own:close()
end)

return checks
