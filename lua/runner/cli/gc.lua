--- `runner gc`: removes the sandboxes that a killed run has left, as its journal and the providers know them.

local errors = require("runner.base.errors")
local leftovers = require("runner.plugin.leftovers")
local plugin_context = require("runner.plugin.context")
local plugin = require("runner.plugin")
local task = require("runner.base.task")
local uv = require("luv")

local M = {
  name = "gc",
  summary = "Remove the sandboxes that killed runs have left.",
}

--- Declares the flags.
---@param cmd table argparse command
function M.configure(cmd)
  cmd:usage("Usage: runner gc [OPTION...]")
  cmd:flag("-n --dry-run"):description("Only tell what would be removed.")
  cmd:flag("-a --all"):description("Also what is kept for later runs: containers (reuse = true), synced folders.")
end

local function providers_of(dead)
  local names, list = {}, {}
  local function add(name)
    if not names[name] then list[#list + 1] = name end
    names[name] = true
  end
  for _, run in ipairs(dead) do
    for _, entry in ipairs(run.entries) do add(tostring(entry.provider)) end
  end
  for _, name in ipairs(plugin.builtin.provider) do add(name) end
  return list
end

--- Lets one provider remove what is its own. Returns whether nothing is left, and how much there was.
local function collect(name, dead, args)
  local entries, clean, count = {}, true, 0
  for _, run in ipairs(dead) do
    for _, entry in ipairs(run.entries) do
      if entry.provider == name then entries[#entries + 1] = entry end
    end
  end
  local function report(what, err)
    count = count + 1
    if err then
      clean = false
      io.stderr:write(("not removed: %s: %s\n"):format(what, tostring(err)))
    else
      io.stdout:write((args.dry_run and "would remove " or "removed ") .. what .. "\n")
    end
  end
  local ok, err = pcall(function()
    local loaded, provider = pcall(plugin.load, "provider", name, assert(uv.cwd()))
    if not loaded and #entries == 0 then return end
    if not loaded then error(provider, 0) end
    if provider.gc then
      provider.gc(plugin_context.new({
        entries = entries, owner = leftovers.owner(), is_alive = leftovers.is_alive, all = args.all,
        dry_run = args.dry_run, report = report,
      }))
    elseif #entries > 0 then
      errors.raise("provider", ("the provider %s cannot remove what it made"):format(name))
    end
  end)
  task.checkpoint()
  if not ok then report(("%d sandboxes of the provider %s"):format(#entries, name), err) end
  return clean, count
end

--- Exit code 0 when nothing is left, 3 when something could not be removed.
---@param args table
---@return integer exit code
---@async
function M.run(args)
  local dead = leftovers.dead()
  local held <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    for _, run in ipairs(dead) do run:close() end
  end })
  local failed, total = {}, 0
  for _, name in ipairs(providers_of(dead)) do
    local clean, count = collect(name, dead, args)
    failed[name], total = not clean or nil, total + count
  end
  if total == 0 then io.stderr:write("runner: there is nothing to remove\n") end -- stdout lists what is removed
  for _, run in ipairs(dead) do
    local left = false
    for _, entry in ipairs(run.entries) do left = left or failed[entry.provider] end
    if not left and not args.dry_run then run:remove() end
  end
  return next(failed) and 3 or 0
end

return M
