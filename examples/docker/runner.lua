-- Runs the tests in containers: `runner run` in this folder, wherever a Docker daemon (or podman's
-- service) answers: DOCKER_HOST, or the usual socket. The docker program itself is not needed.
--
-- The image is built from the Dockerfile and named after the hash of what goes into it, so it is built
-- again only when that changes. The project's files are brought into each container by their hash; no
-- rebuild when a test is edited. When the run ends, or is killed, its containers are gone.
local docker = require "providers.docker"
local pytest = require "frameworks.pytest"

return {
  max_parallel = 2,
  provider = docker {
    dockerfile = "Dockerfile", -- or: image = "python:3.12"
    build_args = { BASE = os.getenv("BASE") or "python:3.12-slim" },
    memory = "512M",
    network = "none",
    env = { GREETING = "hello" },
    -- volumes = { ".:/work" }, working_dir = "/work",  -- the files as they are, not a copy
    -- slots = 2,                                       -- tests at once in one container
    -- reuse = true,                                    -- keep the containers for the next run
    -- hosts = { "unix:///var/run/docker.sock", "tcp://build2:2375" },
  },
  test_timeout = "1m",
  groups = { unit = pytest { paths = { "tests" } } },
}
