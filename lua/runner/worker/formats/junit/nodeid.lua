--- How pytest's JUnit reports name its tests: a node id "tests/test_a.py::TestB::test_c[1]" has the class name
--- "tests.test_a.TestB" and the name "test_c[1]" there. Not to be turned round: a dot may have been a slash.

local M = {}

--- A class name and a name as one key.
---@param classname string
---@param name string
---@return string
function M.joined(classname, name)
  return classname .. "\0" .. name
end

--- What the report says of a node id.
---@param id string
---@return string? key nil: it is no node id
function M.key(id)
  if not id:find("::", 1, true) then return nil end
  local address, parameters = id:match("^(.-)(%[.*)$")
  address = address or id
  local parts, at = {}, 1
  while true do
    local first, last = address:find("::", at, true)
    parts[#parts + 1] = address:sub(at, first and first - 1)
    if not first then break end
    at = last + 1
  end
  parts[1] = parts[1]:gsub("/", "."):gsub("%.py$", "")
  local name = table.remove(parts) .. (parameters or "")
  local key = M.joined(table.concat(parts, "."), name)
  return (key:gsub("[\1-\8\11\12\14-\31\127]", function(c) return ("#x%02X"):format(c:byte()) end))
end

return M
