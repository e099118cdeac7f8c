--- Temporary projects: a folder with some files, gone after the test.
---
---     local project = require("spec.support.project")
---     local dir = project.new({ ["runner.lua"] = "return {}" })   -- removed by project.remove_all()

local uv = require("luv")
local names_in = require("runner.base.files").names

local M = {}

local made = {}

--- Write files below a folder, with the folders they need.
---@param dir string
---@param files table<string, string> path → contents
function M.write(dir, files)
  for name, contents in pairs(files) do
    local folder = dir
    for part in name:gmatch("([^/]+)/") do
      folder = folder .. "/" .. part
      uv.fs_mkdir(folder, tonumber("755", 8))
    end
    local file = assert(io.open(dir .. "/" .. name, "wb"))
    assert(file:write(contents))
    assert(file:close())
  end
end

---@param files table<string, string>? path → contents
---@return string dir absolute
function M.new(files)
  local dir = assert(uv.fs_mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/runner-spec-XXXXXX"))
  made[#made + 1] = dir
  M.write(dir, files or {})
  return dir
end

--- A file's text; nil when there is none.
---@param path string
---@return string?
function M.read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

--- Removes a file, or a folder with all that is in it.
---@param path string
function M.remove(path)
  local stat = uv.fs_lstat(path)
  if stat and stat.type == "directory" then
    for _, name in ipairs(names_in(path)) do M.remove(path .. "/" .. name) end
    uv.fs_rmdir(path)
  else
    uv.fs_unlink(path)
  end
end

--- Remove every folder that `new` made.
function M.remove_all()
  for i, dir in ipairs(made) do
    M.remove(dir)
    made[i] = nil
  end
end

return M
