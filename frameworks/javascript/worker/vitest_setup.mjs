// Loaded by vitest before each test file, in the process that runs it; the names in capitals are filled in.
import { createRequire } from 'node:module'
import { beforeEach } from 'VITEST_ENTRY'

const require = createRequire('VITEST_CJS')
const capture = require('./capture.cjs')
const { send } = require('./channel.cjs')
const { keys } = require('./names.cjs')

const { tests, worker, stride } = JSON.parse(require('node:fs').readFileSync(process.env.RUNNER_STATE, 'utf8'))

function titles_of(task) {
  const titles = [task.name]
  for (let at = task.suite; at; at = at.suite) titles.unshift(at.name)
  return titles
}

function keys_of(file) {
  const key = keys()
  const found = new Map()
  const visit = (task) => {
    if (task.tasks) task.tasks.forEach(visit)
    else found.set(task.id, key(titles_of(task)))
  }
  file.tasks.forEach(visit)
  return found
}

if (worker !== undefined) {
  // As if one pool had started all of the workers.
  process.env.VITEST_POOL_ID = String(worker + 1)
  process.env.VITEST_WORKER_ID = String(Number(process.env.VITEST_WORKER_ID) * stride + worker)
}
const { filepath } = globalThis.__vitest_worker__ ?? {}
if (filepath && !tests) {
  send({ loading: require('node:path').relative(process.cwd(), filepath) })
  require('./reads.cjs').start((path) => send({ read: path }))
}
if (tests) {
  capture.start()
  capture.state.current = undefined
  let by_id
  beforeEach(({ task, onTestFinished }) => {
    by_id ??= keys_of(task.file)
    const test = tests[by_id.get(task.id)]
    if (!test) return
    const [token, id, attempt] = test
    capture.state.current = token
    process.env.RUNNER_TEST_ID = id
    process.env.RUNNER_ATTEMPT = String(attempt)
    send({ start: token })
    onTestFinished(() => send({ over: token })) // its result comes another way
  })
}
