--- The image of a sandbox: one that is there, one that is pulled, or one that is built from a Dockerfile and named
--- after the hash of all that goes into it, so that it is built again only when that changes.

local api = require("providers.docker.api")
local cjson = require("cjson.safe")
local context = require("providers.docker.context")
local credentials = require("providers.docker.credentials")
local digest = require("providers.docker.digest")
local errors = require("runner.base.errors")

local M = {}

local REFUSALS = { "unauthorized", "denied", "authentication required", "no basic auth", "401", "403" }
local LAST_LINES = 20 -- of a build's output, in the error of a build that failed

---@class docker.Image
---@field name string as the user or we named it
---@field id string "sha256:…"
---@field architecture string as Go names it: "amd64", "arm64"
---@field workdir string? of the image's configuration

--- What will be used: the name of an image, and for one that is built its context.
---@class docker.Recipe
---@field name string
---@field context docker.Context? to be built from when missing

--- Hashes the context of an image that is to be built. Raises errors of kind "config".
---@param options table of the provider
---@param dir string of the configuration
---@param settings runner.Config?
---@return docker.Recipe
function M.recipe(options, dir, settings)
  if options.image then return { name = options.image } end
  local recipe = { context = context.new(options, dir, settings) }
  local hash = digest.new()
  recipe.context:feed(hash.update)
  local arguments = {}
  for key, value in pairs(options.build_args or {}) do arguments[#arguments + 1] = key .. "=" .. value end
  table.sort(arguments)
  hash.update(table.concat(arguments, "\0") .. "\0" .. recipe.context.dockerfile .. "\0"
    .. (options.platform or ""))
  local project = (dir:match("([^/]+)$") or "project"):lower():gsub("[^%w]+", "-"):gsub("^%-+", "")
  recipe.name = ("runner/%s:%s"):format(project:gsub("%-+$", ""):gsub("^$", "project"), hash.hex():sub(1, 24))
  return recipe
end

local function escape(name)
  return (name:gsub("[^%w%-._~/:@]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- The image's data, or nil when the daemon does not have it.
local function inspect(engine, name)
  local answer, data = engine:request("GET", "/images/" .. escape(name) .. "/json", { accept = { [404] = true } })
  if answer.status == 404 then return nil end
  local config = data.Config or {}
  return {
    name = name, id = data.Id, architecture = data.Architecture,
    workdir = config.WorkingDir ~= "" and config.WorkingDir or nil,
  }
end

--- Reads the JSON lines of a long work; returns the error that they hold, if any. Its status is 200 all the same.
local function follow(engine, path, request, on_line)
  local rest, failure = "", nil
  request.timeout = false
  request.on_body = function(chunk)
    rest = rest .. chunk
    for line in rest:gmatch("([^\n]*)\n") do
      local said = cjson.decode(line)
      if type(said) == "table" then
        local detail = type(said.errorDetail) == "table" and said.errorDetail.message
        failure = failure or detail or said.error or said.message
        on_line(said)
      end
    end
    rest = rest:match("[^\n]*$")
  end
  request.accept = "any" -- what a refusal says went to on_body
  local answer = engine:request("POST", path, request)
  if answer.status // 100 ~= 2 then
    return ("%s (status %d)"):format(failure or api.message(rest), answer.status)
  end
  return failure
end

local function advice(name, registry, headers, failure)
  local refused = false
  for _, word in ipairs(REFUSALS) do refused = refused or failure:lower():find(word, 1, true) ~= nil end
  if not refused then return ("pull it yourself (docker pull %s)"):format(name) end
  local again = headers and "log in again, for what is noted does not do" or "log in"
  return ("%s (docker login %s)"):format(again, registry)
end

local function pull(engine, name, options, log)
  log("info", "pulling the image %s on %s", name, engine.address)
  local repository, tag = name, nil
  if not name:find("@", 1, true) then
    repository, tag = name:match("^(.+):([^/:]+)$")
    repository, tag = repository or name, tag or "latest"
  end
  local headers, registry = credentials.for_pull(name, log)
  local failure = follow(engine, "/images/create", {
    query = { fromImage = repository, tag = tag, platform = options.platform }, headers = headers,
  }, function() end)
  if failure then
    errors.raise("provider", ("the image %s is not on %s and cannot be pulled: %s; %s, correct `image`, or build one "
      .. "with `dockerfile`"):format(name, engine.address, failure, advice(name, registry, headers, failure)))
  end
end

local function build(engine, recipe, options, log)
  log("info", "building the image %s on %s", recipe.name, engine.address)
  local lines = {}
  local failure = follow(engine, "/build", {
    query = {
      t = recipe.name, dockerfile = recipe.context.dockerfile, rm = true, forcerm = true,
      buildargs = options.build_args and cjson.encode(options.build_args),
      labels = '{"runner.built":"1"}', platform = options.platform,
      pull = options.pull == "always" and true or nil, networkmode = options.network,
    },
    body = recipe.context:archive(), type = "application/x-tar",
    headers = credentials.for_build(recipe.context.text, log),
  }, function(said)
    for line in (said.stream or ""):gmatch("[^\n]+") do
      lines[#lines + 1] = line
      log("debug", "%s", line)
      if #lines > LAST_LINES then table.remove(lines, 1) end
    end
  end)
  if failure then
    errors.raise("provider", ("%s: building the image failed: %s\n%s")
      :format(recipe.context.dockerfile, failure, table.concat(lines, "\n")))
  end
end

--- Sees to it that a daemon has the image.
---@param engine docker.Engine
---@param recipe docker.Recipe
---@param options table of the provider
---@param log fun(level: string, format: string, ...)
---@return docker.Image
---@async
function M.ensure(engine, recipe, options, log)
  local image = inspect(engine, recipe.name)
  if recipe.context then
    if not image or options.pull == "always" then build(engine, recipe, options, log) end
  elseif options.pull == "always" or (not image and options.pull ~= "never") then
    pull(engine, recipe.name, options, log)
  elseif not image then
    errors.raise("provider", ('the image %s is not on %s, and pull = "never"; pull or build it first')
      :format(recipe.name, engine.address))
  end
  image = image and options.pull ~= "always" and image or inspect(engine, recipe.name)
  if not image then
    errors.raise("provider", ("the image %s is still missing on %s"):format(recipe.name, engine.address))
  end
  return image
end

return M
