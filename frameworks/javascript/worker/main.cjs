'use strict'
// The process that lists or runs JavaScript tests: `node main.cjs FRAMEWORK {options, place}`, then lines of JSON both
// ways (channel.cjs). place: folder for files; workers: how many files may be loaded at once; slot: it is a slot's.
//
// host → process
//   {"slot": {worker, stride}}   first, to a slot's: its number among so many
//   {"list": {skip: files}}      answered by files, problems and listed
//   {"set_up": true}             what the project sets up once for all workers; answered by set_up
//   {"was_set_up": {env, provided}}   for a slot: what came of that elsewhere
//   {"run": {unit, file, project, pool, whole, tests: [[key, [token, id, attempt]]…]}}   answered by ran
//   {"close": true}              answered by bye; the process ends
// process → host
//   {"ready": {serial}} · {"fatal": {message, text, absent}} it is of no use and ends
//   {"files": [{file, project, pool, tests: [{titles, key}…]}…]} · {"problem": {…}} ·
//   {"listed": {setup, outside, count}}
//   {"read": path} outside of the project, by another process while tests are listed
//   {"set_up": {env, provided} or {error}}
//   {"loading": file} · {"start": token} · {"over": token} · {"done": token, "result": {…}}
//   {"output": [stream, token or 0, text, is hexadecimal]}
//   {"ran": unit, errors: the file's own, died?: of the process that ran it, gone?: tokens,
//     unlisted?: titles, recycle?}
// Without a control channel all requests come in a third argument, and the process ends after the last.

const capture = require('./capture.cjs')
const channel = require('./channel.cjs')
const folder = require('./folder.cjs')
const { failure, titles } = require('./names.cjs')
const { Missing } = require('./locate.cjs')
const reads = require('./reads.cjs')

const FILES_AT_ONCE = 50
const VERBS = { passed: 'passed', skipped: 'been skipped' }

/// One file that is being run, as adapters see it.
class Request {
  constructor(about) {
    Object.assign(this, about)
    this.file = folder.absolute(about.file)
    this.tests = new Map(about.tests)
    this.left = new Set(this.tests.keys())
    this.told = new Map() // status by key
    this.errors = []
  }

  /// A test starts, in this process.
  start(key) {
    const test = this.tests.get(key)
    if (!test) return undefined
    const [token, id, attempt] = test
    capture.state.current = token
    process.env.RUNNER_TEST_ID = id
    process.env.RUNNER_ATTEMPT = String(attempt)
    channel.send({ start: token })
    return test
  }

  /// It has ended, and its result is told later.
  over(key) {
    if (this.left.has(key)) channel.send({ over: this.tests.get(key)[0] })
  }

  /// The verdict of a test: the first one counts, and no failure is lost that comes later, or of whatever test.
  done(key, result) {
    const is_failed = result.status === 'failed'
    if (this.left.delete(key)) {
      this.told.set(key, result.status)
      channel.send({ done: this.tests.get(key)[0], result })
    } else if (is_failed && this.told.has(key) && this.told.get(key) !== 'failed') {
      const how = `after ${titles(key).join(' > ')} had ${VERBS[this.told.get(key)]}`
      this.errors.push({ ...result, message: `${how}: ${result.message}` })
    } else if (is_failed && this.whole && !this.tests.has(key)) {
      const name = key ? titles(key).join(' > ') : 'a test'
      this.errors.push({ ...result, message: `${name}, which was not listed, failed: ${result.message}` })
    }
  }

  /// All tests that the file turned out to have, and those of them that ran.
  found(keys, ran = keys) {
    this.unlisted = this.whole ? ran.filter((key) => !this.tests.has(key)) : []
    this.gone = [...this.left].filter((key) => !keys.includes(key))
  }

  /// What there is to say at the end of the file, when its runner has said `failed`.
  end(name, { errors = [], failed, ...ended }) {
    const gone = this.gone?.map((key) => this.left.delete(key) && this.tests.get(key)[0])
    errors = [...errors, ...this.errors]
    const is_told = errors.length > 0 || ended.died || gone?.length > 0 || [...this.told.values()].includes('failed')
    if (failed && !is_told) errors.push({ message: `${name} says that the file failed, but not why`, trace: '' })
    if (this.left.size > 0 && errors.length === 0) errors.push({ message: `${name} did not run it`, trace: '' })
    return { errors, gone, unlisted: this.unlisted?.map(titles), ...ended }
  }
}

class Worker {
  constructor(Adapter, name, { options, place }) {
    this.name = name
    this.place = place
    this.adapter = new Adapter(options, place)
  }

  async open() {
    if (this.place.slot) capture.start()
    const serial = await this.adapter.open() // the project does not want two of its files to run at once
    channel.send({ ready: { serial } })
    folder.keep()
    this.survive()
  }

  slot(about) {
    Object.assign(this.place, about)
    process.env.RUNNER_WORKER = String(about.worker)
    this.adapter.slot?.()
  }

  async list({ skip }) {
    const setup = this.adapter.has_setup()
    if (setup && this.adapter.sets_up_first) {
      const { error } = await this.prepare()
      if (error) channel.send({ problem: { message: error.message, text: error.trace } })
      if (error) return channel.send({ listed: { setup, count: 0 } })
    }
    const { files, problems } = await this.adapter.list(new Set(Array.from(skip, folder.absolute)))
    for (const one of files) one.file = folder.relative(one.file)
    const count = files.length
    while (files.length > 0) channel.send({ files: files.splice(0, FILES_AT_ONCE) })
    for (const problem of problems) channel.send({ problem: { ...problem, file: folder.relative(problem.file) } })
    const outside = reads.outside(this.adapter.own_folders?.() ?? [])
    channel.send({ listed: { setup, outside, count } })
  }

  /// Once; what came of it: { env: what changed of the environment, provided } or { error }.
  prepare() {
    const run = async () => {
      const before = { ...process.env }
      try {
        const provided = await this.adapter.set_up()
        const env = {}
        for (const name of new Set([...Object.keys(before), ...Object.keys(process.env)])) {
          if (process.env[name] !== before[name]) env[name] = process.env[name] ?? false
        }
        return { env, provided }
      } catch (error) {
        return { error: failure(error) }
      }
    }
    return (this.prepared ??= run())
  }

  async set_up() {
    channel.send({ set_up: await this.prepare() })
  }

  was_set_up({ env, provided }) {
    for (const [name, value] of Object.entries(env)) {
      if (value === false) delete process.env[name]
      else process.env[name] = value
    }
    this.adapter.was_set_up(provided)
  }

  async run(about) {
    const request = new Request(about)
    folder.restore()
    this.survive(false)
    const ended = await this.unless_dry(this.run_file(request))
    this.survive()
    capture.state.current = undefined
    channel.send({ ran: about.unit, ...request.end(this.name, ended) })
    process.exitCode = undefined
  }

  async run_file(request) {
    try {
      return await this.adapter.run_file(request)
    } catch (error) {
      return { errors: [failure(error)] }
    }
  }

  /// What comes of the promise; or, when nothing is left that could settle it, how this process died of that.
  async unless_dry(promise) {
    if (!this.socket || this.adapter.runs_elsewhere) return promise
    let dry
    const dried = new Promise((resolve) => process.once('beforeExit', (dry = resolve)))
    this.socket.unref()
    const ended = await Promise.race([promise, dried])
    this.socket.ref()
    process.off('beforeExit', dry)
    const message = 'nothing was left that could end it: its event loop ran dry'
    return typeof ended === 'object' ? ended : { died: { message, trace: '' }, recycle: true }
  }

  /// Between tests an error of theirs that comes late must not end the process. While they run, it is their runner's,
  /// if they run here.
  survive(yes = true) {
    this.late ??= (error, origin) => {
      if (this.adapter.is_expected?.(error, origin)) return
      channel.send({ problem: { late: true, message: failure(error).message, text: failure(error).trace } })
    }
    for (const name of ['uncaughtException', 'unhandledRejection']) {
      process.off(name, this.late)
      if (yes || this.adapter.runs_elsewhere) process.on(name, this.late)
    }
  }

  async close() {
    let error
    try {
      await this.adapter?.close()
      await this.rest()
    } catch (caught) {
      error = failure(caught)
    }
    channel.send({ bye: { error } })
    process.exit(0)
  }

  /// Waits, but not for long, for what tests have left in the event loop: it may fail.
  rest() {
    if (!this.socket || !this.adapter.rest_ms) return undefined
    this.socket.unref()
    return new Promise((resolve) => {
      process.once('beforeExit', resolve)
      setTimeout(resolve, this.adapter.rest_ms).unref()
    })
  }
}

async function main() {
  const [framework, about, bundled] = process.argv.slice(2)
  const { border, requests } = JSON.parse(bundled ?? '{}')
  channel.open(requests ? { fd: 1, border: border.join('') } : { fd: 3 })
  let worker
  try {
    const { options, place } = JSON.parse(about)
    if (!place.slot) reads.start()
    const Adapter = require(`./${framework}.cjs`)
    if (Adapter.restart?.(options, !requests)) return
    worker = new Worker(Adapter, framework, { options, place: { folder: __dirname, ...place } })
    await worker.open()
  } catch (error) {
    const missing = error instanceof Missing
    const text = missing ? '' : failure(error).trace
    channel.send({ fatal: { message: failure(error).message, text, absent: error.absent } })
    process.exit(1)
  }
  const handle = async (message) => {
    const [kind] = Object.keys(message)
    try {
      await worker[kind](message[kind])
    } catch (error) {
      channel.send({ fatal: { message: failure(error).message, text: failure(error).trace } })
      process.exit(1)
    }
  }
  if (requests) {
    for (const request of requests) await handle(request)
    return
  }
  let turn = Promise.resolve()
  worker.socket = channel.listen((message) => (turn = turn.then(() => handle(message))), () => process.exit(1))
}

main()
