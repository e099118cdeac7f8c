'use strict'
// jest, by the packages that its own command is made of: configuration and file map are read once, then one file at a
// time runs in this process, as in a worker of jest's: in a context of its own, with modules of its own.
//
// The project's test runner is wrapped where Node caches it, not in the configuration: what jest keeps of transformed
// files between runs depends on that.

const fs = require('node:fs')
const { createRequire } = require('node:module')
const { send } = require('./channel.cjs')
const folder = require('./folder.cjs')
const { failure, keys, pattern, retried, strip, unique } = require('./names.cjs')
const { locate } = require('./locate.cjs')

const NOTHING = '(?!)'
const RETRY_TIMES = Symbol.for('RETRY_TIMES') // as jest-circus has it

const titles_of = (test) => {
  const titles = [test.name]
  for (let at = test.parent; at?.parent; at = at.parent) titles.unshift(at.name)
  return titles
}

/// Of a failure as jest formats it.
function first_line(text) {
  const lines = text.split('\n').map((line) => line.trim())
  return lines.find((line) => line && !line.startsWith('●')) ?? 'it cannot be run'
}

function each_test(block, visit) {
  for (const child of block.children) {
    if (child.type === 'test') visit(child)
    else each_test(child, visit)
  }
}

/// The keys of what circus collected, by its own test objects.
function keys_of(block) {
  const key = keys()
  const found = new Map()
  each_test(block, (test) => found.set(test, key(titles_of(test))))
  return found
}

/// What circus says of an error that belongs to no test: the error, or that and where it was asked for.
function thrown(entry) {
  const [error, async_error] = Array.isArray(entry) ? entry : [entry]
  if (typeof error?.stack === 'string' || typeof error?.message === 'string') return error
  const stack = String(async_error?.stack ?? '').replace(/^[^\n]*/, '')
  const message = `thrown: ${require('node:util').inspect(error)}`
  return { message, stack: `${message}${stack}` }
}

function result_of(one, trace) {
  if (one.status === 'pending' || one.status === 'disabled') return { status: 'skipped' }
  if (one.status === 'todo') return { status: 'skipped', reason: 'todo' }
  const result = { duration: (one.duration ?? 0) / 1000 }
  result.sections = retried('jest', one.status === 'passed', (one.invocations ?? 1) - 1)
  if (one.status === 'passed') return { ...result, status: 'passed' }
  const detail = one.failureDetails?.[0]
  const error = detail?.matcherResult ?? detail
  return {
    ...result, status: 'failed', ...failure(undefined, trace),
    message: strip(error?.message ?? one.failureMessages?.[0] ?? '').trim().split('\n', 1)[0] || 'it failed',
    type: detail?.name,
  }
}

/// The tests of a file that circus is about to run.
class Found {
  constructor(state) {
    this.state = state
    this.root = state.rootDescribeBlock
    this.by_test = keys_of(this.root)
    this.by_titles = new Map()
    for (const test of this.by_test.keys()) {
      const titles = JSON.stringify(titles_of(test))
      this.by_titles.set(titles, [...(this.by_titles.get(titles) ?? []), test])
    }
  }

  /// Retries follow when all others of the suite have run, and may be those of a whole suite.
  may_change(test, result, global) {
    for (let at = test.parent; at; at = at.parent) {
      if (this.state.describeRetryOptions?.has(at)) return true
    }
    return result.status === 'failed' && test.invocations <= Number(global[RETRY_TIMES] ?? 0)
  }

  /// The keys in the order of jest's results: it may have put the tests into another one.
  in_order() {
    const order = []
    each_test(this.root, (test) => order.push(this.by_test.get(test)))
    return order
  }
}

class Jest {
  constructor(options, place) {
    this.options = options
    this.place = place
    this.sets_up_first = true // files may need at once what it left in the environment
    this.rest_ms = 1000 // as long as jest waits before it says that something is left
  }

  async open() {
    process.env.NODE_ENV ??= 'test'
    this.package = locate('jest', 29)
    const core = createRequire(this.package.require.resolve('@jest/core'))
    const cli = createRequire(this.package.require.resolve('jest-cli'))
    this.core = core
    this.argv = await this.arguments(cli)
    const { readConfigs } = core('jest-config')
    const { globalConfig, configs } = await readConfigs(this.argv, this.argv.projects ?? [process.cwd()])
    const own = { bail: 0, collectCoverage: false, maxWorkers: 1, verbose: true, watch: false, watchAll: false }
    this.global = { ...globalConfig, ...own }
    const chosen = this.options.projects
    this.configs = configs.filter((one) => !chosen || chosen.includes(one.displayName?.name))
    if (chosen && this.configs.length === 0) throw new Error(`jest has no project called ${chosen.join(' or ')}`)
    this.contexts = new Map()
    this.wrapped = new Set()
    for (const config of this.configs) this.wrap(config)
    const name = unique()
    this.names = new Map(this.configs.map((config) => [config, name(this.project_name(config))]))
    return this.configs.some((config) => this.runner_class(config).prototype?.isSerial) || undefined
  }

  slot() {
    process.env.JEST_WORKER_ID = String((this.place.worker ?? 0) + 1)
  }

  async arguments(cli) {
    const { options } = this
    const config = options.config ? ['--config', options.config] : []
    const words = [...(options.args ?? []), ...config, ...(options.paths ?? [])]
    if (words.length === 0) return { _: [], $0: 'jest' }
    const module = cli('yargs')
    const yargs = typeof module === 'function' ? module : module.default
    const argv = await yargs(words).options(cli('jest-cli').yargsOptions).argv
    for (const [key, value] of Object.entries(argv)) {
      if (value === undefined || key.includes('-')) delete argv[key]
    }
    return argv
  }

  project_name(config) {
    const { displayName, rootDir } = config
    return displayName?.name ?? (this.configs.length > 1 ? folder.relative(rootDir) || '.' : '')
  }

  async context(config) {
    let context = this.contexts.get(config)
    if (!context) {
      const Runtime = this.core('jest-runtime').default
      fs.mkdirSync(config.cacheDirectory, { recursive: true })
      const { watchman } = this.global
      context = await Runtime.createContext(config, { console, maxWorkers: 1, watch: false, watchman })
      this.contexts.set(config, context)
    }
    return context
  }

  own_folders() {
    return this.configs.map((config) => config.cacheDirectory)
  }

  runner_class(config) {
    const module = require(config.runner)
    return module.default ?? module
  }

  // What happens inside of a file -----------------------------------------------------------------------------------

  wrap(config) {
    const file = require.resolve(config.testRunner)
    if (this.wrapped.has(file)) return
    this.wrapped.add(file)
    const original = require(file)
    const run = original.default ?? original
    const wrapped = (...args) => this.test_runner(run, file, ...args)
    require.cache[file].exports = original.default ? { ...original, __esModule: true, default: wrapped } : wrapped
  }

  async test_runner(run, file, globalConfig, config, environment, runtime, test_path, tell) {
    if (this.light) return this.light(createRequire(file), config, environment, runtime, test_path)
    const { request } = this
    const explain = (one) => this.explain(one, config, globalConfig, test_path)
    let found
    const on_event = (event, state) => {
      if (event.name === 'run_start') found = this.found = new Found(state)
      if (!request) return
      if (event.name === 'test_started') this.started(request, found.by_test.get(event.test), environment)
      else if (event.name === 'test_skip') request.done(found.by_test.get(event.test), { status: 'skipped' })
    }
    const theirs = environment.handleTestEvent
    environment.handleTestEvent = async function (event, state) {
      on_event(event, state)
      if (theirs) await theirs.call(this, event, state)
    }
    // Tests may run at the same time, so the result itself must say whose it is. Where its titles do not, as they are
    // those of several tests, or where jest may yet try the test again, it waits for the end of the file.
    const on_result = (name, args) => {
      const one = name === 'test-case-result' && request ? args[1] : undefined
      const tests = (one && found?.by_titles.get(JSON.stringify([...one.ancestorTitles, one.title]))) ?? []
      if (tests.length === 1 && !found.may_change(tests[0], one, environment.global)) {
        request.done(found.by_test.get(tests[0]), result_of(one, explain(one)))
      } else {
        for (const test of tests) if (test.status === 'done') request.over(found.by_test.get(test))
      }
      return tell?.(name, args)
    }
    const result = await run(globalConfig, config, environment, runtime, test_path, on_result)
    const order = found?.in_order() ?? []
    if (request && order.length > 0 && order.length === result.testResults.length) {
      result.testResults.forEach((one, i) => request.done(order[i], result_of(one, explain(one))))
    }
    this.outside = found && found.state.unhandledErrors.map((entry) => {
      const error = thrown(entry)
      const { formatExecError } = this.core('jest-message-util')
      return failure(error, formatExecError(error, config, globalConfig, undefined, false, true).replace(/^\s*\n/, ''))
    })
    return result
  }

  started(request, key, environment) {
    const test = request.start(key)
    const env = environment.global.process?.env
    if (test && env) [env.RUNNER_TEST_ID, env.RUNNER_ATTEMPT] = [process.env.RUNNER_TEST_ID, process.env.RUNNER_ATTEMPT]
  }

  explain(one, config, globalConfig, test_path) {
    if (one.status !== 'failed') return ''
    const { formatResultsErrors } = this.core('jest-message-util')
    const text = formatResultsErrors([one], config, globalConfig, test_path)
    return text ?? one.failureMessages.join('\n')
  }

  async run_tests(config, file, global) {
    const Runner = this.runner_class(config)
    const runner = new Runner(global, {})
    const { TestWatcher } = this.core('jest-watcher')
    const test = { context: await this.context(config), path: file }
    const watcher = new TestWatcher({ isWatchMode: false })
    let result
    let error
    if (runner.supportsEventEmitters) {
      const off = [
        runner.on('test-file-success', ([, value]) => void (result = value)),
        runner.on('test-file-failure', ([, value]) => void (error = value)),
      ]
      const running = runner.runTests([test], watcher, { serial: true })
      this.slot() // it took itself for the only worker
      await running
      for (const stop of off) stop()
    } else {
      const success = async (_, value) => void (result = value)
      const failed = async (_, value) => void (error = value)
      await runner.runTests([test], watcher, async () => {}, success, failed, { serial: true })
    }
    const shown = error && this.core('jest-message-util').formatExecError(error, config, global, file)
    return { result, error, text: strip(shown ?? result?.failureMessage ?? '').replace(/^\s*\n/, '') }
  }

  // Listing ---------------------------------------------------------------------------------------------------------

  async list(skip) {
    const { SearchSource } = this.package.require('@jest/core')
    const files = []
    const problems = []
    for (const config of this.configs) {
      const source = new SearchSource(await this.context(config))
      const found = await (this.package.major >= 30
        ? source.getTestPaths(this.global, config)
        : source.getTestPaths(this.global))
      for (const { path: file } of found.tests) {
        if (skip.has(file)) continue
        send({ loading: folder.relative(file) })
        folder.restore()
        const tests = (await this.list_light(config, file)) ?? (await this.list_whole(config, file, problems))
        if (tests) files.push({ file, project: this.names.get(config), tests })
      }
    }
    return { files, problems }
  }

  /// Loads a file with jest-circus itself as it is outside of the file's context, where it is loaded once for all files
  /// and not for each. What does not go that way (undefined) goes the long one.
  async list_light(config, file) {
    if (!/[\\/]jest-circus[\\/]/.test(config.testRunner)) return undefined
    let tests
    this.light = async (require_circus, _config, environment, runtime, test_path) => {
      const circus = require_circus('jest-circus')
      const { afterAll, afterEach, beforeAll, beforeEach, describe, it, test } = circus
      const { jestExpect: expect } = require_circus('@jest/expect')
      circus.resetState()
      const globals = { afterAll, afterEach, beforeAll, beforeEach, describe, it, test, expect }
      runtime.setGlobalsForRuntime(globals)
      if (config.injectGlobals) {
        const { only, skip } = describe
        const aliases = { fdescribe: only, xdescribe: skip, fit: it.only, xit: it.skip, xtest: it.skip }
        Object.assign(environment.global, globals, aliases)
      }
      const load = async (name) => {
        if (runtime.unstable_shouldLoadAsEsm(name)) await runtime.unstable_importModule(name)
        else runtime.requireModule(name)
      }
      for (const name of config.setupFilesAfterEnv) await load(name)
      await load(test_path)
      const by_test = keys_of(circus.getState().rootDescribeBlock)
      tests = [...by_test].map(([one, key]) => ({ titles: titles_of(one), key }))
      const none = { numPassingTests: 0, numFailingTests: 0, numPendingTests: 0, numTodoTests: 0 }
      return { ...none, testResults: [], perfStats: {}, snapshot: {} }
    }
    try {
      const { error } = await this.run_tests(config, file, this.global)
      return error || !tests || tests.length === 0 ? undefined : tests
    } catch {
      return undefined
    } finally {
      this.light = undefined
    }
  }

  /// As jest does it, with a pattern that no test matches.
  async list_whole(config, file, problems) {
    this.found = undefined
    const { result, text } = await this.run_tests(config, file, { ...this.global, testNamePattern: NOTHING })
    const found = this.found?.by_test
    if (found?.size > 0 && !result?.testExecError) {
      return [...found].map(([one, key]) => ({ titles: titles_of(one), key }))
    }
    const key = keys()
    const tests = (result?.testResults ?? []).map((one) => {
      const titles = [...one.ancestorTitles, one.title]
      return { titles, key: key(titles) }
    })
    if (tests.length > 0 && !result.testExecError) return tests
    const is_empty = result && !result.testExecError
    const message = is_empty ? 'Your test suite must contain at least one test.' : first_line(text)
    problems.push({ file, message, text })
    return undefined
  }

  // What is set up once for all workers -----------------------------------------------------------------------------

  has_setup() {
    return [this.global, ...this.configs].some((one) => one.globalSetup || one.globalTeardown)
  }

  async hook(name, configs) {
    const { createScriptTransformer } = this.core('@jest/transform')
    const done = new Set()
    for (const config of configs) {
      for (const file of [this.global[name], config[name]]) {
        if (!file || done.has(file)) continue
        done.add(file)
        const transformer = await createScriptTransformer(config)
        await transformer.requireAndTranspileModule(file, async (hook) => {
          if (typeof hook !== 'function') throw new TypeError(`${name}: ${file} must export a function`)
          await hook(this.global, config)
        })
      }
    }
  }

  async set_up() {
    this.is_set_up = true
    await this.hook('globalSetup', this.configs)
    return ''
  }

  was_set_up() {}

  // Running ---------------------------------------------------------------------------------------------------------

  async run_file(request) {
    const config = this.configs.find((one) => this.names.get(one) === request.project) ?? this.configs[0]
    const global = request.whole ? this.global : { ...this.global, testNamePattern: pattern([...request.tests.keys()]) }
    this.request = request
    this.found = this.outside = undefined
    const { result, error, text } = await this.run_tests(config, request.file, global)
    this.request = undefined
    if (this.found) request.found([...this.found.by_test.values()])
    else this.report(request, result, config, global)
    for (const line of result?.console ?? []) process.stdout.write(`${line.message}\n`)
    const limit = this.global.workerIdleMemoryLimit
    return {
      recycle: (limit && process.memoryUsage().rss > limit) || undefined,
      failed: Boolean(error || result?.testExecError || result?.numFailingTests || result?.leaks),
      errors: [...this.errors(result, error, text), ...this.complaints(result)],
    }
  }

  /// Of the file itself, each with its own message.
  errors(result, error, text) {
    if (!error && !result?.testExecError) return []
    if (!error && this.outside?.length > 0) return this.outside
    return [{ message: first_line(text), trace: text }]
  }

  /// What lets jest's command fail although all tests pass.
  complaints(result) {
    const list = []
    if (result?.leaks) list.push('it leaks memory, says jest')
    const { unchecked = 0, uncheckedKeys = [] } = result?.snapshot ?? {}
    if (unchecked > 0 && this.global.updateSnapshot !== 'all') {
      const names = uncheckedKeys.join(', ')
      list.push(`${unchecked} obsolete ${unchecked === 1 ? 'snapshot' : 'snapshots'}, as "jest -u" removes: ${names}`)
    }
    if (process.exitCode) list.push(`it set process.exitCode to ${process.exitCode}`)
    return list.map((message) => ({ message, trace: '' }))
  }

  /// Of a test runner other than circus, we hear when the file is over.
  report(request, result, config, global) {
    const key = keys()
    for (const one of result?.testResults ?? []) {
      const trace = this.explain(one, config, global, request.file)
      request.done(key([...one.ancestorTitles, one.title]), result_of(one, trace))
    }
  }

  async close() {
    if (this.is_set_up) await this.hook('globalTeardown', this.configs)
  }
}

module.exports = Jest
