--- Lines of shell for the other side, and for a person.

local M = {}

--- One word for any shell. Backslashes are kept out of the quotes, because fish does not leave them alone there.
---@param text string
---@return string
function M.quote(text)
  if text:find("^[%w_@%%+=:,./-]+$") then return text end
  return "'" .. text:gsub("['\\]", "'\\%0'") .. "'"
end

--- A folder of the remote user's: "~" and what is relative start at the home folder, where a login begins.
---@param dir string
---@return string
function M.quote_dir(dir)
  local rest = dir:match("^~/+(.*)$")
  if dir == "~" or rest == "" then return "~" end
  if rest then return "~/" .. M.quote(rest) end
  return M.quote(dir:find("^/") and dir or "./" .. dir)
end

--- What the login shell is given so that `argv` takes its place.
---@param argv string[]|string a string is a line for /bin/sh
---@param dir string? working folder
---@return string
function M.exec(argv, dir)
  if type(argv) == "string" then argv = { "/bin/sh", "-c", argv } end
  local words = {}
  for i, word in ipairs(argv) do words[i] = M.quote(word) end
  local line = "exec " .. table.concat(words, " ")
  return dir and ("cd %s && %s"):format(M.quote_dir(dir), line) or line
end

--- The command with which a person gets a shell on the host.
---@param options table runner.ssh.Options
---@param dir string? working folder
---@return string
function M.shell(options, dir)
  local words = { "ssh" }
  local function add(flag, value)
    if value then table.move({ flag, M.quote(tostring(value)) }, 1, 2, #words + 1, words) end
  end
  add("-F", options.config_file)
  add("-p", options.port)
  add("-l", options.user)
  add("-i", options.key_path)
  add("-o", options.known_hosts and "UserKnownHostsFile=" .. options.known_hosts)
  add("-o", options.disable_host_key_check and "StrictHostKeyChecking=no")
  if dir then words[#words + 1] = "-t" end
  words[#words + 1] = M.quote(options.host)
  if dir then words[#words + 1] = M.quote(("cd %s && exec ${SHELL:-/bin/sh}"):format(M.quote_dir(dir))) end
  return table.concat(words, " ")
end

return M
