'use strict'
// mocha: its own command reads the configuration, loads what is required and collects the files; where it would load
// and run them, we take over. Each file then runs in an instance of its own, as in a worker of `mocha --parallel`.

const { spawn } = require('node:child_process')
const path = require('node:path')
const { pathToFileURL } = require('node:url')
const { send } = require('./channel.cjs')
const folder = require('./folder.cjs')
const { failure, keys, pattern, retried } = require('./names.cjs')
const { locate } = require('./locate.cjs')

const REST_MS = 5000

const titles_of = (test) => test.titlePath()

function each_test(suite, visit) {
  suite.tests.forEach(visit)
  suite.suites.forEach((one) => each_test(one, visit))
}

/// Follows one run of a file.
class Follower {
  constructor(request, root) {
    this.request = request
    this.by_test = new Map()
    const key = keys()
    each_test(root, (test) => {
      if (test.file === request.file) this.by_test.set(test, key(titles_of(test)))
    })
    this.seen = new Set()
    this.hooks = [] // that failed, with the tests below them that did not run
    this.outside = []
    this.held = undefined // the verdict of the test whose "after each" hooks run
  }

  /// A retry is a copy of the test under another name of the same key.
  key_of(test) {
    let at = test
    while (at && !this.by_test.has(at)) at = at._retriedTest
    return this.by_test.get(at)
  }

  listen(runner) {
    const about = (test) => ({
      duration: (test.duration ?? 0) / 1000, sections: retried('mocha', test.state === 'passed', test.currentRetry()),
    })
    runner.on('test', (test) => {
      this.tell()
      this.request.start(this.key_of(test))
    })
    runner.on('test end', (test) => this.key_of(test) && this.seen.add(this.key_of(test)))
    runner.on('pass', (test) => this.hold(test, { status: 'passed', ...about(test) }))
    runner.on('pending', (test) => this.hold(test, { status: 'skipped' }))
    runner.on('suite', () => this.tell())
    runner.on('suite end', () => this.tell())
    runner.on('fail', (test, error) => {
      const failed = { status: 'failed', ...failure(error) }
      const hook = test.type === 'hook' && /^"(before|after) (all|each)" hook/.exec(test.title)
      if (hook) this.hook_failed(test, hook, failed)
      else if (test.type === 'test') this.hold(test, { ...failed, ...about(test) })
      else this.outside.push({ ...failed, message: `${test.title}: ${failed.message}` })
    })
  }

  /// The "after each" hooks of a test follow its verdict: it has not passed when they fail.
  hold(test, result) {
    const key = this.key_of(test)
    if (this.held?.key === key && result.status === 'failed') return this.add(result)
    this.tell()
    if (key) this.held = { key, result }
    else if (result.status === 'failed') this.outside.push(result)
  }

  add(failed) {
    const { key, result } = this.held
    const { message, trace, type } = result.status === 'failed' ? result : failed
    const traces = result.status === 'failed' ? `${trace}\n\n${failed.trace}` : trace
    this.held = { key, result: { ...result, ...failed, message, type, trace: traces, duration: result.duration } }
  }

  tell() {
    const { held } = this
    this.held = undefined
    if (held) this.request.done(held.key, held.result)
  }

  hook_failed(hook, [, when, which], failed) {
    const result = { ...failed, message: `${hook.title}: ${failed.message}` }
    const key = which === 'each' && hook.ctx?.currentTest && this.key_of(hook.ctx.currentTest)
    if (key && this.held?.key === key) {
      this.add(result)
    } else if (key) {
      this.tell()
      this.held = { key, result }
    } else if (which === 'each' || when === 'after') {
      this.outside.push(result)
    }
    if (which === 'each' || when === 'before') {
      this.hooks.push({ suite: hook.parent, result, is_told: which === 'each' })
    }
  }

  /// Tests that a hook has kept from running share its fate. Returns the errors that are no test's.
  end() {
    this.tell()
    for (const { suite, result, is_told } of this.hooks) {
      let is_shown = is_told
      for (const [test, key] of this.by_test) {
        let at = test.parent
        while (at && at !== suite) at = at.parent
        if (!at || !this.request.left.has(key)) continue
        is_shown ||= !test.isPending()
        this.request.done(key, test.isPending() ? { status: 'skipped' } : result)
      }
      if (!is_shown) this.outside.push(result)
    }
    return this.outside
  }
}

class Mocha {
  constructor(options, place) {
    this.options = options
    this.place = place
    this.loads = new Map()
  }

  /// mocha's command waits for all that tests have left, unless it is told to exit.
  get rest_ms() {
    return this.argv.exit ? 0 : REST_MS
  }

  /// It pays no heed to promises.
  is_expected(_, origin) {
    return origin !== 'uncaughtException'
  }

  part(name) {
    for (const kind of ['cjs', 'js']) {
      try {
        return this.package.require.resolve(`./lib/${name}.${kind}`)
      } catch {
        continue
      }
    }
    throw new Error(`mocha ${this.package.version} has no lib/${name}`)
  }

  /// Options for Node itself (of .mocharc, or loaders) need a process that was started with them: true, if this one
  /// is only there to wait for that.
  static restart(options, has_channel) {
    const mocha = new Mocha(options, {})
    mocha.read()
    if (mocha.flags.length === 0 || process.env.RUNNER_RESTARTED) return false
    const child = spawn(process.execPath, [...mocha.flags, ...process.argv.slice(1)], {
      stdio: has_channel ? [0, 1, 2, 3] : 'inherit', env: { ...process.env, RUNNER_RESTARTED: '1' },
    })
    child.on('exit', (code, signal) => {
      if (signal) process.kill(process.pid, signal)
      else process.exit(code)
    })
    return true
  }

  /// Options as mocha's command reads them, those for Node apart.
  read() {
    this.package = locate('mocha', 10)
    const { loadOptions } = require(this.part('cli/options'))
    const { isNodeFlag, unparseNodeFlags } = require(this.part('cli/node-flags'))
    const { options } = this
    const config = options.config ? ['--config', options.config] : []
    const words = [...(options.args ?? []), ...config, ...(options.paths ?? [])]
    this.argv = {}
    const node = {}
    for (const [key, value] of Object.entries(loadOptions(words))) {
      if (isNodeFlag(key)) node[/^v8-(?!options$)/.test(key) ? key.slice(3) : key] = value
      else this.argv[key] = value
    }
    const own = this.argv['node-option']
    this.flags = own ? own.map((flag) => `--${flag}`) : unparseNodeFlags(node)
    delete this.argv['node-option']
  }

  async open() {
    process.env.NODE_ENV ??= 'test'
    this.read()
    this.Class = require(this.part('mocha'))
    const taken = new Promise((resolve) => {
      const { prototype } = this.Class
      const original = prototype.loadFilesAsync
      prototype.loadFilesAsync = function () {
        prototype.loadFilesAsync = original
        resolve(this)
        return new Promise(() => {}) // the command waits for ever
      }
    })
    const { reporter, 'reporter-option': _1, reporterOption: _2, reporterOptions: _3, ...argv } = this.argv
    const own = { ...argv, reporter: 'spec', parallel: false, watch: false, bail: false, exit: false, 'dry-run': false }
    for (const name of ['R', 'b', 'p', 'w', 'O']) delete own[name]
    const cli = await import(pathToFileURL(this.part('cli/cli'))) // an ES module since mocha 12
    await Promise.race([taken, (async () => (cli.main ?? cli.default.main)([], own))().then(() => taken)])
    this.base = await taken
    this.preloaded = [].concat(this.argv.file ?? []).map((file) => path.resolve(file))
  }

  slot() {
    process.env.MOCHA_WORKER_ID = String(this.place.worker)
  }

  /// ES modules are never unloaded: under another name one is loaded again.
  again(name) {
    const times = (this.loads.get(name) ?? 0) + 1
    this.loads.set(name, times)
    return times === 1 ? name : `${name}?load=${times}`
  }

  /// A new instance with the files loaded, as if for the first time.
  async load(files, options) {
    const mocha = new this.Class({ ...this.base.options, reporter: class {}, ...options })
    mocha.files = [...this.preloaded, ...files]
    mocha.files.forEach((file) => this.Class.unloadFile(file))
    mocha.suite.on('pre-require', (_, file) => send({ loading: folder.relative(file) }))
    await mocha.loadFilesAsync({ esmDecorator: (name) => this.again(String(name)) })
    return mocha
  }

  // Listing ---------------------------------------------------------------------------------------------------------

  async list(skip) {
    const all = this.base.files.map((file) => path.resolve(file))
    const files = all.filter((file) => !this.preloaded.includes(file) && !skip.has(file))
    const problems = []
    let found
    try {
      found = await this.collect(files)
    } catch {
      found = [] // one file cannot be loaded: which?
      for (const file of files) {
        try {
          found.push(...(await this.collect([file])))
        } catch (error) {
          problems.push({ file, message: failure(error).message, text: failure(error).trace })
        }
      }
    }
    return { files: found, problems }
  }

  /// A dry run knows what `only` and grep leave; keys are those of all tests.
  async collect(files) {
    const mocha = await this.load(files, { dryRun: true, forbidPending: false })
    const by_file = new Map(files.map((file) => [file, { file, tests: [], key: keys() }]))
    const by_test = new Map()
    each_test(mocha.suite, (test) => {
      const entry = by_file.get(test.file)
      if (entry) by_test.set(test, { titles: titles_of(test), key: entry.key(titles_of(test)) })
    })
    const add = (test) => {
      if (by_test.has(test)) by_file.get(test.file).tests.push(by_test.get(test))
    }
    await this.run(mocha, (runner) => {
      runner.on('pass', add)
      runner.on('pending', add)
    })
    return [...by_file.values()].map(({ file, tests }) => ({ file, tests }))
  }

  /// Runs an instance, without what is to be set up once for all; how many failures there were.
  run(mocha, listen) {
    mocha.enableGlobalSetup(false).enableGlobalTeardown(false)
    return new Promise((resolve) => {
      const runner = mocha.run((failures) => {
        runner.dispose() // else it would go on to listen for uncaught errors
        resolve(failures)
      })
      listen(runner)
    })
  }

  // What is set up once for all workers -----------------------------------------------------------------------------

  has_setup() {
    return this.base.hasGlobalSetupFixtures() || this.base.hasGlobalTeardownFixtures()
  }

  async set_up() {
    this.context = await this.base.runGlobalSetup({})
    this.is_set_up = true
    return ''
  }

  was_set_up() {}

  // Running ---------------------------------------------------------------------------------------------------------

  async run_file(request) {
    const chosen = () => ({ grep: new RegExp(pattern([...request.tests.keys()])), invert: false, fgrep: undefined })
    const options = request.whole ? {} : chosen()
    let mocha
    try {
      mocha = await this.load([request.file], options)
    } catch (error) {
      return { errors: [failure(error)] }
    }
    const follower = new Follower(request, mocha.suite)
    const failures = await this.run(mocha, (runner) => follower.listen(runner))
    request.found([...follower.by_test.values()], [...follower.seen])
    return { errors: follower.end(), failed: failures > 0 }
  }

  async close() {
    if (this.is_set_up) await this.base.runGlobalTeardown(this.context)
  }
}

module.exports = Mocha
