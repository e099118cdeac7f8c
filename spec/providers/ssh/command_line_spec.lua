local command_line = require("providers.ssh.command_line")

local function output(line)
  local pipe = assert(io.popen(line))
  local text = pipe:read("a")
  pipe:close()
  return text
end

describe("providers.ssh.command_line", function()
  it("brings every word through a shell as it is", function()
    local words = { "", "plain-word", "it's", "a\\b", "\\'", "$HOME `id` \"q\"", "line\nbreak", "~", "*", "-n", "ü" }
    local argv = { "printf", "%s\\0", table.unpack(words) }
    assert.equal(table.concat(words, "\0") .. "\0", output(command_line.exec(argv)))
  end)

  it("starts in the folder, also below the home folder", function()
    local home = os.getenv("HOME")
    assert.equal("/\n", output(command_line.exec({ "pwd" }, "/")))
    assert.equal(home .. "\n", output("cd / && " .. command_line.exec("pwd", "~")))
    assert.equal("cd ~/'a b' && exec pwd", command_line.exec({ "pwd" }, "~/a b"))
    assert.equal("cd ./-x && exec pwd", command_line.exec({ "pwd" }, "-x"))
  end)

  it("gives a person the command for a shell there", function()
    local options = {
      host = "build1", port = 2222, user = "ci", key_path = "/my keys/id", config_file = "/c", known_hosts = "/k",
    }
    assert.equal("ssh -F /c -p 2222 -l ci -i '/my keys/id' -o UserKnownHostsFile=/k build1",
      command_line.shell(options))
    assert.equal("ssh -t build1 'cd /w && exec ${SHELL:-/bin/sh}'", command_line.shell({ host = "build1" }, "/w"))
  end)
end)
