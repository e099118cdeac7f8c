--- The version of this binary, as the build system knows it.

return require("runner.core.host").version
