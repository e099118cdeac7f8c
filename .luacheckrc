-- Lua 5.4 everywhere; the specs add busted's globals, a config file is plain Lua.
std = "lua54"
max_line_length = 120
codes = true

-- `self` in a method that an interface asks for, and arguments named for the reader.
self = false
ignore = { "212/_.*" }

files["spec/**/*.lua"] = { std = "lua54+busted" }
-- os.exit would skip the orderly end of the host: the entry module replaces it.
files["lua/runner/main.lua"] = { ignore = { "122/os" } }
-- Declarations for the language server: names and types, no code.
files["lua/runner/meta/"] = { ignore = { "211", "212", "241" } }
