local config = require("runner.config")
local detect = require("runner.cli.init_detect")
local init = require("runner.cli.init_config")
local project = require("spec.support.project")

describe("what a project tests with", function()
  after_each(project.remove_all)

  --- Frameworks and signs that files lead to: "rspec: Gemfile".
  local function found(files)
    local list = {}
    for i, one in ipairs(detect.find(project.new(files))) do list[i] = one.framework .. ": " .. one.why end
    return list
  end

  local JEST_AND_VITEST = '"devDependencies": { "jest": "^30", "vitest": "4", "mochawesome": "1" }'

  local cases = {
    { "cargo: Cargo.toml", { ["Cargo.toml"] = "" } },
    { "go: go.mod", { ["go.mod"] = "" } },
    { "ctest: CMakeLists.txt", { ["CMakeLists.txt"] = "project(x)\n  Enable_Testing ()\n" } },
    { "ctest: CMakeLists.txt", { ["CMakeLists.txt"] = "include(CTest)" } },
    { nil, { ["CMakeLists.txt"] = "project(x)\n# enable_testing()\n" } },
    { "pytest: pytest.ini", { ["pytest.ini"] = "" } },
    { "pytest: pyproject.toml", { ["pyproject.toml"] = "" } },
    { "pytest: setup.cfg", { ["setup.cfg"] = "[tool:pytest]\n" } },
    { "pytest: tox.ini", { ["tox.ini"] = "[testenv]\ncommands = pytest\n" } },
    { nil, { ["setup.cfg"] = "[metadata]\n# pytest\n", ["tox.ini"] = "[testenv]\ncommands = true\n" } },
    { "pytest: conftest.py", { ["conftest.py"] = "" } },
    { "pytest: tests/unit/test_a.py", { ["tests/unit/test_a.py"] = "", ["tests/helper.py"] = "" } },
    { "pytest: test_a.py", { ["test_a.py"] = "" } },
    { nil, { ["tests.py"] = "", ["tests/helper.py"] = "", ["tests/node_modules/test_a.py"] = "" } },
    { "rspec: .rspec", { [".rspec"] = "" } },
    { "rspec: spec/models/a_spec.rb", { ["spec/models/a_spec.rb"] = "" } },
    { "rspec: Gemfile", { Gemfile = 'source "x"\ngroup :test do\n  gem "rspec-rails", "~> 6"\nend\n' } },
    { nil, { Gemfile = '# gem "rspec"\ngem "rake"\n' } },
    { "busted: .busted", { [".busted"] = "" } },
    { "busted: spec/a_spec.lua", { ["spec/a_spec.lua"] = "" } },
    { 'mocha: package.json\'s script "test"', { ["package.json"] = '{ "scripts": { "test": "nyc mocha -r x" } }' } },
    { 'jest: package.json\'s script "test:unit"', {
      ["package.json"] = '{ "scripts": { "test:unit": "A=1 jest", "lint": "mocha" } }' } },
    { "vitest: vitest.config.ts", { ["package.json"] = "{}", ["vitest.config.ts"] = "" } },
    { "mocha: .mocharc.yml", { ["package.json"] = "[ 1 ]", [".mocharc.yml"] = "" } },
    { 'jest: package.json\'s key "jest"', { ["package.json"] = '{ "jest": {} }' } },
    { 'vitest: package.json\'s script "test"', {
      ["package.json"] = '{ "scripts": { "test": "npx vitest run" }, ' .. JEST_AND_VITEST .. "}" } },
    { nil, { ["package.json"] = '{ "scripts": { "test": "node --test" } }' } },
    { nil, { ["package.json"] = '{ "scripts": { "test": "moch' } },
    { "command: Makefile's target test", { Makefile = "all:\ntest: all\n\ttrue\n" } },
    { "command: Makefile's target check", { Makefile = "check::\n\ttrue\n" } },
    { nil, { Makefile = "test := 1\ntested:\n#test:\n" } },
    { "pytest: pytest.ini", { Makefile = "test:\n\tpytest\n", ["pytest.ini"] = "" } },
    { nil, {} },
  }
  for i, case in ipairs(cases) do
    it(("no. %d is %s"):format(i, case[1] or "not recognised"), function()
      assert.are.same({ case[1] }, found(case[2]))
    end)
  end

  it("is all of it in a mixed repository", function()
    assert.are.same({ "cargo: Cargo.toml", "pytest: pyproject.toml", "vitest: package.json's devDependencies",
      "jest: package.json's devDependencies", "busted: spec/a_spec.lua" }, found({
      ["Cargo.toml"] = "", ["pyproject.toml"] = "", ["spec/a_spec.lua"] = "",
      ["package.json"] = "{" .. JEST_AND_VITEST .. "}",
    }))
  end)

  it("is not sought in folders that links lead to", function()
    local dir = project.new({ ["tests/x"] = "", ["elsewhere/test_a.py"] = "" })
    assert(require("luv").fs_symlink("../elsewhere", dir .. "/tests/link"))
    assert.are.same({}, detect.find(dir))
  end)

  it("starts rspec as the Gemfile wants it", function()
    local dir = project.new({ Gemfile = "gem 'rspec'" })
    project.write(dir, { ["runner.lua"] = init.template("local", detect.find(dir)) })
    local bound = config.load(dir .. "/runner.lua").groups[1].framework
    assert.are.same({ "bundle", "exec", "rspec" }, bound.options.command)
  end)
end)
