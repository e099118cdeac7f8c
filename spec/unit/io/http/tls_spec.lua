local async = require("spec.support.async")
local errors = require("runner.base.errors")
local http = require("runner.io.http")
local process = require("runner.io.process")
local support = require("spec.support.http")
local task = require("runner.base.task")
local uv = require("luv")

local failure, folder = support.failure, support.folder

describe("http", function()
  describe("TLS", function()
    it("is verified against the given authority, unless told otherwise", function()
      if not os.execute("command -v openssl >/dev/null 2>&1") then
        return pending("openssl is not installed")
      end
      async(function()
        local dir <close> = folder()
        local cert, key = dir.path .. "/cert.pem", dir.path .. "/key.pem"
        local made = process.run({
          "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
          "-nodes", "-days", "1", "-subj", "/CN=localhost",
          "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
          "-keyout", key, "-out", cert,
        })
        assert.are.equal(0, made.code, made.stderr)
        local pipe = uv.new_pipe(false)
        local child = uv.spawn("openssl", {
          args = { "s_server", "-accept", "127.0.0.1:0", "-cert", cert, "-key", key, "-www" },
          stdio = { nil, pipe, nil },
        }, function() end)
        local said = ""
        local port = task.deadline(20, function()
          while not said:find("ACCEPT [^\n]*:%d+\n") do
            said = said .. task.await(function(resume)
              pipe:read_start(function(_, bytes)
                pipe:read_stop()
                resume(bytes or "ACCEPT :0\n")
              end)
              return function() pipe:read_stop() end
            end)
          end
        end) and said:match("ACCEPT [^\n]*:(%d+)\n")
        local base = "https://127.0.0.1:" .. port
        local ok, err = pcall(function()
          local function client(tls)
            return http.client({ base_url = base, tls = tls, timeout = 20 })
          end
          local plain <close> = client()
          local refusal = failure(plain.request, plain, {})
          assert.is_true(errors.is(refusal, "transport"))
          assert.are.equal("ESSL", refusal.context.code)
          local trusting <close> = client({ ca = cert })
          assert.are.equal(200, trusting:request({}).status)
          local careless <close> = client({ verify = false })
          assert.are.equal(200, careless:request({}).status)
        end)
        child:kill("sigkill")
        child:close()
        pipe:close()
        assert(ok, err)
      end)()
    end)
  end)
end)
