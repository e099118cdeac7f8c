'use strict'
// vitest, by its own API (vitest/node): one instance a process, which runs one file at a time with the pool and the
// isolation that the project chose. Results come from a reporter; that a test starts, and what it prints, comes from
// the process that runs it (vitest_setup.mjs), for a test may kill that or never let it speak again.

const { subscribe } = require('node:diagnostics_channel')
const fs = require('node:fs')
const path = require('node:path')
const v8 = require('node:v8')
const channel = require('./channel.cjs')
const { failure, keys, pattern, retried, strip } = require('./names.cjs')
const { locate } = require('./locate.cjs')

const CLOSE_MS = 5000

const pool_isolation = ['forks', 'threads']

function titles_of(test) {
  const titles = [test.name]
  for (let at = test.parent; at && at.type === 'suite'; at = at.parent) titles.unshift(at.name)
  return titles
}

/// The keys of a module's tests, by their ids.
function keys_of(module) {
  const key = keys()
  const found = new Map()
  for (const test of module.children.allTests()) found.set(test.id, key(titles_of(test)))
  return found
}

const OWN_FRAMES = /[\\/]node_modules[\\/](@vitest|vitest|vite|vite-node|tinypool)[\\/]|\(?node:internal/

function describe(error) {
  const name = error.name && error.name !== 'Error' ? `${error.name}: ` : ''
  const lines = [strip(`${name}${error.message ?? error}`)]
  const source = error.__vitest_rollup_error__ ?? error
  if (error.diff) lines.push('', strip(error.diff))
  if (source.loc) lines.push(`    at ${source.loc.file ?? source.id}:${source.loc.line}:${source.loc.column}`)
  if (typeof source.frame === 'string') lines.push('', strip(source.frame))
  const frames = error.stacks ?? error.parsedStack ?? []
  for (const frame of frames) {
    lines.push(`    at ${frame.method ? `${frame.method} ` : ''}${frame.file}:${frame.line}:${frame.column}`)
  }
  if (!frames.length && typeof error.stack === 'string') {
    const rest = error.stack.split('\n').filter((line) => /^\s+at /.test(line) && !OWN_FRAMES.test(line))
    lines.push(...rest.map(strip))
  }
  if (error.cause) lines.push('Caused by: ' + describe(error.cause))
  return lines.join('\n')
}

function failures(errors) {
  const first = errors[0] ?? { message: 'it failed without an error' }
  return { ...failure(first, errors.map(describe).join('\n\n')), type: first.name }
}

function result_of(test) {
  const { state, errors, note } = test.result()
  if (state === 'skipped') {
    return { status: 'skipped', reason: note ?? (test.options?.mode === 'todo' ? 'todo' : undefined) }
  }
  const about = test.diagnostic?.() ?? {}
  const sections = retried('vitest', state === 'passed', about.retryCount)
  const result = { duration: (about.duration ?? 0) / 1000, sections }
  if (state === 'passed') return { ...result, status: 'passed' }
  return { ...result, status: 'failed', ...failures(errors ?? []) }
}

/// The suite, or file, around a test that kept it from running.
function failed_suite(test) {
  if (test.task.result?.pending) return undefined // it has skipped itself
  for (let at = test.parent; at; at = at.parent) {
    if (at.errors().length > 0) return at
  }
  return undefined
}

/// Its own mode or that of a suite around it is not to run it: vitest may not look at it at all.
function is_skipped(test) {
  for (let at = test; at && at.type !== 'module'; at = at.parent) {
    if (['skip', 'todo'].includes(at.task.mode)) return true
  }
  return test.module.task.mode === 'skip'
}

const one_by_one = (errors, before = '') => errors.map((error) => {
  const { message, ...more } = failures([error])
  return { ...more, message: before + message }
})

class Vitest {
  constructor(options, place) {
    this.options = options
    this.place = place
    this.sets_up_first = true // files may need at once what it provides
    this.runs_elsewhere = true
  }

  async open() {
    process.env.NODE_ENV ??= 'test'
    process.env.TEST = process.env.VITEST = 'true'
    process.env.VITEST_MODE = 'RUN'
    const { options } = this
    this.package = locate('vitest', 3)
    this.watch_children()
    this.relay = channel.relay(path.join(this.place.folder, `${process.pid}.fifo`))
    this.state_file = path.join(this.place.folder, `${process.pid}.json`)
    process.env.RUNNER_STATE = this.state_file
    const { createVitest, parseCLI } = await this.package.import('./node')
    const parsed = parseCLI(['vitest', 'run', ...(options.args ?? [])])
    this.filters = [...parsed.filter, ...(options.paths ?? [])]
    const workers = this.place.workers
    const cli = {
      ...parsed.options,
      ...(options.config && { config: options.config }),
      ...(options.projects && { project: options.projects }),
      watch: false, run: true, ui: false, open: false, bail: 0, cache: false,
      reporters: [this.reporter()], coverage: { enabled: false }, disableConsoleIntercept: true,
      maxWorkers: workers, ...(this.package.major < 4 && { minWorkers: Math.min(workers, 1) }),
    }
    const listeners = process.listeners('unhandledRejection')
    this.vitest = await createVitest('test', cli)
    // It would end this process where a worker's end breaks a promise.
    for (const one of process.listeners('unhandledRejection')) {
      if (!listeners.includes(one)) process.off('unhandledRejection', one)
    }
    const setup = this.write_setup()
    for (const project of this.projects()) {
      if (!project.config.browser?.enabled) project.config.setupFiles.unshift(setup)
    }
    return this.projects().some((project) => project.config.fileParallelism === false) || undefined
  }

  write_setup() {
    const file = path.join(this.place.folder, `${process.pid}.setup.mjs`)
    const text = fs.readFileSync(path.join(__dirname, 'vitest_setup.mjs'), 'utf8')
    const values = { VITEST_ENTRY: this.package.entry('.'), VITEST_CJS: __filename }
    fs.writeFileSync(file, text.replace(/'(VITEST_\w+)'/g, (_, name) => JSON.stringify(values[name])))
    return file
  }

  projects() {
    const { projects } = this.vitest
    const root = this.vitest.getRootProject?.()
    return root && !projects.includes(root) ? [root, ...projects] : projects
  }

  tell(state) {
    const { worker, stride } = this.place
    fs.writeFileSync(this.state_file, JSON.stringify({ ...state, worker, stride }))
  }

  // Listing ---------------------------------------------------------------------------------------------------------

  /// First all files in few processes, which is many times faster; then by itself whatever failed that way.
  async list() {
    this.tell({})
    const specs = await this.vitest.globTestSpecifications(this.filters)
    const found = new Map()
    const isolated = this.isolate(false)
    await this.collect(specs, found)
    this.isolate(isolated)
    const again = specs.filter((spec) => !found.get(spec) || found.get(spec).errors().length > 0)
    let unhandled = []
    if (again.length > 0) {
      await this.vitest.pool?.close?.()
      this.vitest.pool = undefined
      for (const spec of again) found.delete(spec)
      unhandled = await this.collect(again, found)
    }
    const files = []
    const problems = []
    for (const spec of specs) {
      const module = found.get(spec)
      const errors = module?.errors() ?? unhandled
      const tests = module ? [...module.children.allTests()] : []
      if (errors.length > 0 || !module) {
        const said = failures(errors)
        const message = module ? said.message : 'vitest\'s worker process ended while it loaded the file'
        problems.push({ file: spec.moduleId, message, text: said.trace })
        continue
      } else if (tests.length === 0) {
        const message = 'No test suite found in file'
        if (!spec.project.config.passWithNoTests) problems.push({ file: spec.moduleId, message, text: '' })
        continue
      }
      const by_id = keys_of(module)
      const rows = tests.map((test) => ({ titles: titles_of(test), key: by_id.get(test.id) }))
      files.push({ file: spec.moduleId, project: spec.project.name, pool: spec.pool, tests: rows })
    }
    return { files, problems }
  }

  /// Sets whether files share processes; returns what to set to have it as it was.
  isolate(values) {
    return this.projects().map((project, i) => {
      const { config } = project
      const before = values === false ? undefined : values[i]
      const old = { isolate: config.isolate, pools: {} }
      config.isolate = before ? before.isolate : false
      for (const name of pool_isolation) {
        const options = config.poolOptions?.[name]
        if (!options) continue
        old.pools[name] = options.isolate
        options.isolate = before ? before.pools[name] : false
      }
      return old
    })
  }

  async collect(specs, found) {
    const { testModules, unhandledErrors } = await this.vitest.collectTests(specs)
    const modules = new Map(testModules.map((module) => [`${module.project.name}\0${module.moduleId}`, module]))
    for (const spec of specs) {
      const module = modules.get(`${spec.project.name}\0${spec.moduleId}`)
      if (module && module.task.mode !== 'queued') found.set(spec, module)
    }
    return unhandledErrors
  }

  // What is set up once for all workers -----------------------------------------------------------------------------

  has_setup() {
    return this.projects().some((project) => project.config.globalSetup?.length > 0)
  }

  /// For the session's process: runs what "globalSetup" names.
  async set_up() {
    const provided = []
    for (const project of this.projects()) {
      await project._initializeGlobalSetup()
      provided.push([project.name, project.getProvidedContext()])
    }
    return v8.serialize(provided).toString('base64')
  }

  /// For the process of a slot: it was done elsewhere.
  was_set_up(text) {
    const provided = new Map(v8.deserialize(Buffer.from(text, 'base64')))
    for (const project of this.projects()) {
      project._globalSetups = []
      for (const [key, value] of Object.entries(provided.get(project.name) ?? {})) project.provide(key, value)
    }
  }

  // Running ---------------------------------------------------------------------------------------------------------

  /// What comes of the end of a worker, which is told otherwise.
  is_expected(error) {
    return error?.code === 'ERR_IPC_CHANNEL_CLOSED' || error?.message === 'Worker exited unexpectedly'
  }

  reporter() {
    const send = (test) => {
      const { run } = this
      const { state } = test.result()
      // Also what a hook that failed kept from running is called skipped; in the end that is known.
      if (!run || run.sent.has(test.id) || (!run.ended && state !== 'passed' && state !== 'failed')) return
      const is_left = state === 'pending' && !run.skipped.has(test.id)
      if (is_left) return
      const key = run.keys?.get(test.id) ?? (run.keys = keys_of(test.module)).get(test.id)
      run.sent.add(test.id)
      this.relay.drain()
      const suite = state === 'skipped' && !run.skipped.has(test.id) && failed_suite(test)
      if (suite && run.request.tests.has(key)) run.blamed.add(suite)
      const result = state === 'pending' ? { status: 'skipped' } : result_of(test)
      run.request.done(key, suite ? { status: 'failed', ...failures(suite.errors()) } : result)
    }
    return {
      onTestModuleCollected: (module) => {
        if (!this.run) return
        for (const test of module.children.allTests()) if (is_skipped(test)) this.run.skipped.add(test.id)
      },
      onTestCaseResult: send,
      onTestModuleEnd: (module) => {
        if (!this.run) return
        this.run.ended = true
        this.run.module = module
        for (const test of module.children.allTests()) send(test)
      },
    }
  }

  /// How the worker process of the file that runs ends is not told by vitest.
  watch_children() {
    subscribe('child_process', ({ process: child }) => {
      child?.on('exit', (code, signal) => {
        if (this.run && !this.run.ended && (code || (signal && signal !== 'SIGTERM'))) this.run.exit = { code, signal }
      })
    })
  }

  async run_file(request) {
    const project = this.projects().find((one) => one.name === request.project) ?? this.projects()[0]
    this.tell({ tests: Object.fromEntries(request.tests) })
    if (request.whole) this.vitest.resetGlobalTestNamePattern()
    else this.vitest.setGlobalTestNamePattern(new RegExp(pattern([...request.tests.keys()])))
    const run = (this.run = { request, sent: new Set(), blamed: new Set(), skipped: new Set() })
    const spec = project.createSpecification(request.file, undefined, request.pool)
    process.exitCode = undefined
    const { unhandledErrors } = await this.vitest.runTestSpecifications([spec], false)
    this.run = undefined
    this.relay.drain()
    if (!run.ended) {
      await this.vitest.pool?.close?.()
      this.vitest.pool = undefined
      const message = unhandledErrors.length > 0 ? 'its worker process ended unexpectedly' : 'vitest did not run it'
      return { died: { message, trace: unhandledErrors.map((error) => strip(error.message)).join('\n'), ...run.exit } }
    }
    request.found([...keys_of(run.module).values()])
    const suites = [...run.module.children.allSuites()].filter((suite) => !run.blamed.has(suite))
    const modules = run.blamed.has(run.module) ? [] : [run.module]
    const ignored = this.vitest.config.dangerouslyIgnoreUnhandledErrors
    return {
      failed: run.module.state() === 'failed' || Boolean(process.exitCode),
      errors: [
        ...one_by_one([...modules, ...suites].flatMap((one) => one.errors())),
        ...one_by_one(ignored ? [] : unhandledErrors, 'unhandled error: '),
      ],
    }
  }

  /// Ends the pool, and undoes the global setup where it was done.
  async close() {
    if (!this.vitest) return
    if (!this.place.slot) {
      for (const project of this.projects()) {
        await project._teardownGlobalSetup()
        project._globalSetups = []
      }
    }
    let timer
    const late = new Promise((resolve) => (timer = setTimeout(resolve, CLOSE_MS)))
    await Promise.race([this.vitest?.close(), late])
    clearTimeout(timer)
  }
}

module.exports = Vitest
