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
  cmd:argument("shell"):choices({ "bash", "zsh", "fish" }):description("The shell to complete in.")
end

---@param args table
---@return integer exit code
function M.run(args)
  local parser = require("runner.cli").parser()
  io.stdout:write(parser["get_" .. args.shell .. "_complete"](parser))
  return 0
end

return M
