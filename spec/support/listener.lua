local task = require("runner.base.task")

--- What a slot hears, as words: "start a", "passed a", "returned a b", "exited lost", "problem leak …".
return function()
  local heard = { words = {}, results = {}, output = {} }
  local changed
  local function add(word)
    heard.words[#heard.words + 1] = word
    if changed then changed:set(true) end
  end
  heard.report = {
    started = function(item) add("start " .. item.id) end,
    output = function(item, _, bytes) heard.output[item.id] = (heard.output[item.id] or "") .. bytes end,
    finished = function(item, result)
      heard.results[item.id] = result
      add(result.status .. " " .. item.id)
    end,
    returned = function(items)
      local ids = { "returned" }
      for _, item in ipairs(items) do ids[#ids + 1] = item.id end
      add(table.concat(ids, " "))
    end,
    problem = function(problem) add("problem " .. problem.kind .. " " .. problem.message) end,
    exited = function(exit) add("exited " .. exit.kind) end,
  }
  --- Waits until something was heard so often (default once).
  function heard.wait(pattern, times)
    while true do
      local count = 0
      for _, word in ipairs(heard.words) do count = count + (word:find(pattern) and 1 or 0) end
      if count >= (times or 1) then return end
      changed = task.event()
      changed:wait()
    end
  end
  return heard
end
