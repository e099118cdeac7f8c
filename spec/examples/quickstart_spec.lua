-- What `./dev demo` shows: the example as a newcomer runs it, in a folder of its own.
local cjson = require "cjson.safe"
local uv = require "luv"

local function lines_of(path)
  local file = assert(io.open(path, "rb"))
  local lines = {}
  for line in file:lines() do lines[#lines + 1] = line end
  file:close()
  return lines
end

describe("examples/quickstart", function()
  local dir

  before_each(function()
    dir = assert(uv.fs_mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/runner-spec-XXXXXX"))
    assert(os.execute(("cp -R examples/quickstart/. '%s'"):format(dir)))
    assert(os.execute(("rm -rf '%s/test-results'"):format(dir)))
  end)

  after_each(function() os.execute(("rm -rf '%s'"):format(dir)) end)

  it("passes, with one flaky test and what is skipped, and says so with exit code 2", function()
    local pipe = assert(io.popen(("cd '%s' && '%s' run --color never 2>&1")
      :format(dir, uv.exepath())))
    local text = pipe:read("a")
    local _, how, code = pipe:close()
    assert.same({ "exit", 2 }, { how, code }, text)

    local statuses, finished = {}, nil
    for _, line in ipairs(lines_of(dir .. "/test-results/events.ndjson")) do
      local event = assert(cjson.decode(line))
      if event.event == "test_finished" then
        statuses[event.status] = (statuses[event.status] or 0) + 1
        if event.status == "flaky" then
          assert.truthy(event.id:find("test_the_line_to_the_bank_is_up", 1, true), event.id)
          assert.equal(2, event.attempts)
        end
      elseif event.event == "run_finished" then
        finished = event
      end
    end
    -- As in pytest's own JUnit file, an expected failure counts as skipped.
    assert.same({ passed = 20, flaky = 1, skipped = 2 }, statuses, text)
    assert.equal(2, finished.exit_code)
    assert.truthy(uv.fs_stat(dir .. "/test-results/junit.xml"))
  end)
end)
