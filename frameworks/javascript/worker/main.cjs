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
//   {"ran": unit, error?: the file's own, died?: of the process that ran it, unlisted?: titles, recycle?}
// Without a control channel all requests come in a third argument, and the process ends after the last.

const capture = require('./capture.cjs')
const channel = require('./channel.cjs')
const folder = require('./folder.cjs')
const { failure, titles } = require('./names.cjs')
const { Missing } = require('./locate.cjs')
const reads = require('./reads.cjs')

const FILES_AT_ONCE = 50

/// One file that is being run, as adapters see it.
class Request {
  constructor(about) {
    Object.assign(this, about)
    this.file = folder.absolute(about.file)
    this.tests = new Map(about.tests)
    this.left = new Set(this.tests.keys())
    this.passed = new Set()
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

  done(key, result) {
    if (!this.left.delete(key)) return // another one's, or told before
    if (result.status === 'passed') this.passed.add(key)
    channel.send({ done: this.tests.get(key)[0], result })
  }

  /// All tests that the file turned out to have.
  found(keys) {
    this.unlisted = this.whole ? keys.filter((key) => !this.tests.has(key)) : []
  }
}

class Worker {
  constructor(Adapter, { options, place }) {
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
    let ended
    try {
      ended = await this.adapter.run_file(request)
    } catch (error) {
      ended = { error: failure(error) }
    }
    this.survive()
    capture.state.current = undefined
    const unlisted = request.unlisted?.map(titles)
    channel.send({ ran: about.unit, unlisted, ...ended })
  }

  /// Between tests an error of theirs that comes late must not end the process. While they run, it is their runner's,
  /// if they run here.
  survive(yes = true) {
    this.late ??= (error) => {
      if (this.adapter.is_expected?.(error)) return
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
    } catch (caught) {
      error = failure(caught)
    }
    channel.send({ bye: { error } })
    process.exit(0)
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
    worker = new Worker(Adapter, { options, place: { folder: __dirname, ...place } })
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
  channel.listen((message) => (turn = turn.then(() => handle(message))), () => process.exit(1))
}

main()
