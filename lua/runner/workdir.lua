--- The folder that a local sandbox works in: the project itself, or a private folder that the listed folders were
--- copied into.

local uv = require("luv")
local errors = require("runner.errors")
local process = require("runner.process")

local M = {}

---@param base string absolute
---@param path string?
---@return string absolute
function M.resolve(base, path)
  if not path or path == "." then return base end
  if path:sub(1, 1) == "/" then return path end
  return base .. "/" .. path
end

local function run_or_raise(argv, what)
  local result = process.run(argv)
  if result.code ~= 0 then
    errors.raise("provider", ("%s: %s"):format(what, (result.stderr:gsub("%s+$", ""))))
  end
end

--- A private working folder with each `copies[i].from` (relative to `base`) copied to `copies[i].to` in it, or nil when
--- nothing is to be copied. Copies share blocks with the originals where the file system can do that.
---@param base string absolute
---@param copies { from: string, to: string }[]
---@return string? folder
---@async
function M.with_copies(base, copies)
  if not copies or #copies == 0 then return nil end
  local folder = assert(uv.fs_mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/runner-work-XXXXXX"))
  for _, copy in ipairs(copies) do
    local from = M.resolve(base, copy.from)
    local to = folder .. "/" .. copy.to:gsub("^/+", "")
    if ("/" .. copy.to .. "/"):find("/../", 1, true) then
      errors.raise("config", ("copy_dirs: %q leaves the sandbox's working folder"):format(copy.to))
    end
    local stat, err = uv.fs_stat(from)
    if not stat then errors.raise("config", ("copy_dirs: cannot copy %s: %s"):format(from, err)) end
    run_or_raise({ "mkdir", "-p", stat.type == "directory" and to or (to:match("^(.*)/") or folder) }, "mkdir " .. to)
    local source = stat.type == "directory" and from .. "/." or from
    run_or_raise({ "cp", "-a", "--reflink=auto", "--", source, to }, "copying " .. from)
  end
  return folder
end

--- Removes a folder that `with_copies` made.
---@param folder string
---@async
function M.remove(folder)
  assert(folder:find("/runner-work-", 1, true), "not a working folder of ours")
  process.run({ "rm", "-rf", "--", folder })
end

return M
