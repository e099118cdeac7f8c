--- Takes command lines that users write apart. A line without shell syntax is started without a shell, as make does:
--- that is one process less for each test. Quotes words for `sh`.

local M = {}

local SHELL = "/bin/sh"

--- What a shell does itself, with or without a program of that name; a line that starts so is the shell's.
local OWN = {}
for word in ([[ . : ! [ alias bg break builtin case cd command continue coproc declare do done echo elif else enable
  esac eval exec exit export false fc fg fi for function getopts hash help history if in jobs kill let local logout popd
  printf pushd pwd read readonly return select set shift shopt source suspend test then time times trap true type
  typeset ulimit umask unalias unset until wait while ]]):gmatch("%S+") do
  OWN[word] = true
end

--- One word of a command line for a POSIX shell. Plain words stay as they are.
---@param word string
---@return string
function M.quote(word)
  if word ~= "" and not word:find("[^%w%%+,./:@_-]") then return word end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- A command line from an argument vector.
---@param argv string[]
---@return string
function M.join(argv)
  local words = {}
  for i, word in ipairs(argv) do words[i] = M.quote(word) end
  return table.concat(words, " ")
end

--- The words of a line that holds nothing but words: plain ones, and parts in quotes in which nothing is replaced.
---@param line string
---@return string[]? words nil: a shell has to read it
function M.words(line)
  local words, at = {}, line:find("[^ \t\n]") or 1
  while at <= #line do
    local parts = {}
    while at <= #line do
      local plain = line:match("^[%w%%+,./:@_=^-]+", at)
      local single = not plain and line:match("^'[^']*'", at)
      local double = not plain and not single and line:match('^"[^"$`\\]*"', at)
      local part = plain or single or double
      if not part then break end
      parts[#parts + 1] = plain or part:sub(2, -2)
      at = at + #part
    end
    if not parts[1] then return nil end
    words[#words + 1] = table.concat(parts)
    local blank, after = line:match("^([ \t]*\n?[ \t]*)()", at)
    if at <= #line and (blank == "" or blank:find("\n", 1, true) and after <= #line) then return nil end
    at = after
  end
  local first = words[1]
  if not first or first == "" or OWN[first] or first:find("=", 1, true) then return nil end
  return words
end

--- How a line is started.
---@param line string
---@param shell string? what reads it (default: /bin/sh); another one is always asked, as it may be set up to do more
---@return string[] argv
---@return string[]? shell_argv instead, where the program turns out to be a script that names no interpreter
function M.argv(line, shell)
  local in_shell = { shell or SHELL, "-c", line }
  local words = in_shell[1] == SHELL and M.words(line)
  if words then return words, in_shell end
  return in_shell
end

return M
