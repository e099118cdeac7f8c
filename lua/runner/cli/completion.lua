--- `runner completion SHELL`: print a completion script, made from the flags as they are declared.

local M = {
  name = "completion",
  summary = "Print a completion script for bash, zsh or fish.",
}

local INSTALL = [[
To install it:
   bash   runner completion bash > ~/.local/share/bash-completion/completions/runner
   zsh    runner completion zsh > "${fpath[1]}/_runner"
   fish   runner completion fish > ~/.config/fish/completions/runner.fish]]

---@param cmd table argparse command
function M.configure(cmd)
  cmd:usage("Usage: runner completion SHELL"):epilog(INSTALL)
  cmd:argument("SHELL"):target("shell"):argname("SHELL"):choices({ "bash", "zsh", "fish" })
    :description("bash, zsh or fish: the shell to complete in.")
end

--- The words that may follow a command at once; argparse hands them on to zsh alone.
local function words_after(command)
  local first = command._arguments[1]
  return first and first._choices and table.concat(first._choices, " ")
end

local add_words = {}

function add_words.bash(command, words)
  local option_args = command._bash_option_args
  command._bash_option_args = function(self, lines, indent)
    option_args(self, lines, indent)
    lines[#lines + 1] = ('%sif [[ "$prev" = %s ]]; then\n%s    COMPREPLY=($(compgen -W "%s" -- "$cur"))\n%sfi')
      :format((" "):rep(indent), self._name, (" "):rep(indent), words, (" "):rep(indent))
  end
end

function add_words.fish(command, words)
  local help = command._fish_complete_help
  command._fish_complete_help = function(self, lines, program)
    help(self, lines, program)
    lines[#lines + 1] = ("complete -c %s -n '__fish_%s_seen_command %s' -a '%s'"):format(program, program, self._name,
      words)
  end
end

---@param args table
---@param all_commands fun(): table makes the parser of all commands
---@return integer exit code
function M.run(args, all_commands)
  local parser = all_commands()
  local add = add_words[args.shell]
  for _, command in ipairs(add and parser._commands or {}) do
    local words = words_after(command)
    if words then add(command, words) end
  end
  io.stdout:write(parser["get_" .. args.shell .. "_complete"](parser))
  return 0
end

return M
