--- Synced folders that nobody uses any more: who removes them, when, and what stays.

local uv = require("luv")
local agents = require("spec.support.agent_process")
local async = require("spec.support.async")
local names_in = require("runner.base.files").names
local listing = require("runner.files.sync.listing")
local manifest = require("runner.files.sync.manifest")
local process = require("runner.io.process")
local project = require("spec.support.project")
local push = require("runner.files.sync.push")
local task = require("runner.base.task")
local tree = require("spec.support.tree")

local DAY_S = 86400

describe("synced folders", function()
  local home, dir, made

  before_each(function()
    home, dir = project.new({}), project.new({ a = "1", ["b/c"] = "22" })
    uv.os_setenv("XDG_CACHE_HOME", home .. "/host") -- of this process
  end)

  after_each(function()
    uv.os_unsetenv("XDG_CACHE_HOME")
    project.remove_all()
  end)

  local function open() return agents.open({ env = { "HOME=" .. home, "PATH=" .. os.getenv("PATH") } }) end

  local function sync(agent, key, into)
    made = made or manifest.build({ { root = dir, paths = listing.everything(dir).paths } })
    return push(agent, { manifest = made, key = key, into = into }).folder
  end

  local function close(agent, stream)
    task.await(function(resume) agent:close(resume) end)
    assert.are.same({ code = 0, signal = 0 }, stream.exited:wait())
  end

  --- One agent's life, with a sync of that key.
  local function life(key, into)
    local agent, stream = open()
    local ok, folder = pcall(sync, agent, key, into)
    close(agent, stream)
    if not ok then error(folder, 0) end
    return folder
  end

  local function place(key, number) return ("%s/.cache/runner/trees/%s/%d"):format(home, key, number or 0) end

  --- The last use of a folder was so many days ago.
  local function age(key, days)
    local at = os.time() - days * DAY_S
    assert(uv.fs_utime(place(key) .. "/lock", at, at))
  end

  local function there(key, number) return uv.fs_lstat(place(key, number)) ~= nil end

  local function expire(...)
    local result = process.run({ uv.exepath(), "agent", "--expire", ... }, {
      env = { HOME = home, XDG_CACHE_HOME = false },
    })
    assert.are.equal(0, result.code, result.stderr)
    return result.stdout
  end

  local function spec(name, fn)
    it(name, async(function()
      made = nil
      fn()
    end))
  end

  spec("go at the end of an agent, two weeks after their last use", function()
    for _, key in ipairs({ "old", "used", "recent" }) do life(key) end
    for key, days in pairs({ old = 15, used = 15, recent = 13 }) do age(key, days) end
    local user, stream = open()
    assert.are.equal(place("used") .. "/tree", sync(user, "used"))
    age("used", 15) -- a run that takes that long still holds it
    life("new")
    assert.is_false(there("old"))
    assert.is_nil(uv.fs_lstat(place("old"):match("^(.*)/")))
    assert.is_true(there("used") and there("recent") and there("new"))
    assert.are.same(tree.describe(dir), tree.describe(place("used") .. "/tree"))
    close(user, stream)
  end)

  spec("stay when an agent does something else", function()
    life("old")
    age("old", 15)
    close(open())
    assert.is_true(there("old"))
  end)

  spec("leave the list of a named folder for longer, and that folder alone", function()
    local named = project.new({ theirs = "x" })
    life("named", named)
    age("named", 100)
    life("new")
    assert.is_true(there("named"))
    age("named", 300)
    life("new")
    assert.is_false(there("named"))
    assert.are.equal("file 644 1", tree.describe(named).a)
  end)

  spec("go after a day where there is no room for what is to come", function()
    if uv.getuid() ~= 0 then return pending("needs root") end
    local cache = home .. "/.cache"
    uv.fs_mkdir(cache, 448)
    if process.run({ "mount", "-t", "tmpfs", "-o", "size=4m", "none", cache }).code ~= 0 then
      return pending("needs to mount")
    end
    local ok, err = pcall(function()
      tree.write(dir .. "/big", ("x"):rep(2 * 1024 * 1024))
      life("yesterday")
      life("today")
      error("both should not have fitted", 0)
    end)
    assert.is_false(ok)
    assert.matches("big: No space left on device", tostring(err))
    age("yesterday", 2)
    local fine, why = pcall(life, "today")
    local kept = there("yesterday")
    process.run({ "umount", "-l", cache })
    assert.is_true(fine, tostring(why))
    assert.is_false(kept)
  end)

  spec("go by `agent --expire`, which tells what, and not what is in use", function()
    life("recent")
    age("recent", 1)
    life("old")
    age("old", 15)
    local user, stream = open()
    sync(user, "used")
    assert.are.equal(place("old") .. "\n", expire("--dry-run"))
    assert.is_true(there("old"))
    assert.are.equal(place("old") .. "\n", expire())
    assert.is_false(there("old"))
    assert.are.equal("", expire())
    assert.are.equal(place("recent") .. "\n", expire("--all"))
    assert.is_true(there("used"))
    close(user, stream)
    assert.are.equal(place("used") .. "\n", expire("--all"))
    assert.are.same({}, names_in(home .. "/.cache/runner/trees"))
  end)

  spec("are whole for whoever takes one while others expire", function()
    local over, here = false, tree.describe(dir)
    task.scope(function(scope)
      scope:spawn(function()
        while not over do expire("--all") end
      end)
      for round = 1, 15 do
        local agent, stream = open()
        local folder = sync(agent, "contested")
        assert.are.same(here, tree.describe(folder), "round " .. round)
        close(agent, stream)
      end
      over = true
    end)
  end)

  spec("leave what a removal did not get done to the next", function()
    life("one")
    project.write(home .. "/.cache/runner/trees", { [".gone-1-0/tree/x"] = "" })
    assert.are.equal("", expire("--dry-run"))
    expire()
    assert.is_nil(uv.fs_lstat(home .. "/.cache/runner/trees/.gone-1-0"))
    assert.is_true(there("one"))
  end)
end)
