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

const titles_of = (test) => test.titlePath()

function each_test(suite, visit) {
  suite.tests.forEach(visit)
  suite.suites.forEach((one) => each_test(one, visit))
}

class Mocha {
  constructor(options, place) {
    this.options = options
    this.place = place
    this.loads = new Map()
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

  /// Runs an instance, without what is to be set up once for all.
  run(mocha, listen) {
    mocha.enableGlobalSetup(false).enableGlobalTeardown(false)
    return new Promise((resolve) => {
      const runner = mocha.run(() => {
        runner.dispose() // else it would go on to listen for uncaught errors
        resolve()
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
      return { error: failure(error) }
    }
    const key = keys()
    const by_test = new Map()
    each_test(mocha.suite, (test) => {
      if (test.file === request.file) by_test.set(test, key(titles_of(test)))
    })
    const hooks = []
    const late = []
    const seen = new Set()
    await this.run(mocha, (runner) => this.follow(request, runner, by_test, { hooks, late, seen }))
    request.found([...seen])
    for (const { hook, error } of hooks) {
      const where = hook.parent
      const result = { status: 'failed', ...failure(error), message: `${hook.title}: ${failure(error).message}` }
      for (const [test, name] of by_test) {
        let at = test.parent
        while (at && at !== where) at = at.parent
        if (at) request.done(name, result)
      }
    }
    const outside = [...late, ...hooks.filter(({ hook }) => /^"after all" hook/.test(hook.title))].map(
      ({ hook, error, after }) => ({ ...failure(error), what: after ? `after ${after} had passed` : hook.title }),
    )
    if (outside.length === 0) return {}
    const [{ what, message }] = outside
    return { error: { message: `${what}: ${message}`, trace: outside.map(({ trace }) => trace).join('\n\n') } }
  }

  follow(request, runner, by_test, { hooks, late, seen }) {
    const seconds = (test) => (test.duration ?? 0) / 1000
    const sections = (test) => retried('mocha', test.state === 'passed', test.currentRetry())
    // A retry is a copy of the test under another name of the same key.
    const key_of = (test) => {
      let at = test
      while (at && !by_test.has(at)) at = at._retriedTest
      return by_test.get(at)
    }
    runner.on('test', (test) => request.start(key_of(test)))
    runner.on('test end', (test) => key_of(test) && seen.add(key_of(test)))
    runner.on('pass', (test) => {
      request.done(key_of(test), { status: 'passed', duration: seconds(test), sections: sections(test) })
    })
    runner.on('pending', (test) => request.done(key_of(test), { status: 'skipped' }))
    runner.on('fail', (test, error) => {
      const failed = { status: 'failed', ...failure(error) }
      if (test.type === 'hook') {
        const of = test.title.startsWith('"before each"') && test.ctx?.currentTest
        if (of) request.done(key_of(of), { ...failed, message: `${test.title}: ${failed.message}` })
        hooks.push({ hook: test, error })
      } else if (request.passed.has(key_of(test))) {
        late.push({ error, after: titles_of(test).join(' > ') }) // it called done() twice, say
      } else if (key_of(test)) {
        request.done(key_of(test), { ...failed, duration: seconds(test), sections: sections(test) })
      } else {
        hooks.push({ hook: { title: test.title, parent: test.parent }, error })
      }
    })
  }

  async close() {
    if (this.is_set_up) await this.base.runGlobalTeardown(this.context)
  }
}

module.exports = Mocha
