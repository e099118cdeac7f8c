'use strict'
// Messages to the host. Each is a line of JSON on the control channel (fd 3), or, where there is none, a line behind a
// border on standard output. The processes and threads that run tests write into the same channel as the process that
// the host started: into the same descriptor when they are threads of it, else into a FIFO that it reads.
//
// A line is at most as long as what the kernel never mixes with what others write (PIPE_BUF). A longer message comes in
// pieces: "+KEY piece", and "=KEY piece" for the last. Writing is synchronous: what was said before a test kills its
// process, or never gives the event loop back, has been said.

const { constants, openSync, readSync, writeSync } = require('node:fs')
const { threadId } = require('node:worker_threads')

const LINE = 4000
const nap = new Int32Array(new SharedArrayBuffer(4))
const { env, pid } = process
const { parse, stringify } = JSON // a test may put others in their place

let target
let pieces = 0

/// Tells where messages go: { fd, border } of the process that the host started.
function open(spec) {
  env.RUNNER_CHANNEL = stringify({ ...spec, pid })
  target = { fd: spec.fd, border: spec.border }
}

/// The channel, from within a process or thread that runs tests.
function find() {
  if (target) return target
  const spec = parse(env.RUNNER_CHANNEL)
  if (spec.pid === pid) target = { fd: spec.fd, border: spec.border }
  else target = { fd: openSync(spec.fifo, constants.O_WRONLY | constants.O_APPEND) }
  return target
}

function write(bytes) {
  const { fd, border } = find()
  if (border) bytes = Buffer.concat([Buffer.from('\n' + border), bytes])
  let at = 0
  while (at < bytes.length) {
    try {
      at += writeSync(fd, bytes, at)
    } catch (error) {
      if (error.code === 'EPIPE') return // nobody listens any more; the agent ends us
      if (error.code !== 'EAGAIN') throw error
      Atomics.wait(nap, 0, 0, 1)
    }
  }
}

/// Half of a pair that stands for one character, as in '😀'[0], is none, and no text for whoever reads JSON.
const HALF = /\p{Surrogate}/gu

function sendable(_, value) {
  if (typeof value === 'string') return value.replace(HALF, '\ufffd')
  return value ?? undefined
}

function send(message) {
  const bytes = Buffer.from(stringify(message, sendable) + '\n')
  if (bytes.length <= LINE) return write(bytes)
  const key = `${pid}.${threadId}.${++pieces} `
  const step = LINE - key.length - 2
  for (let at = 0; at < bytes.length - 1; at += step) {
    const last = at + step >= bytes.length - 1
    const piece = bytes.subarray(at, Math.min(at + step, bytes.length - 1))
    write(Buffer.concat([Buffer.from((last ? '=' : '+') + key), piece, Buffer.from('\n')]))
  }
}

/// Makes the FIFO for the processes that run tests, and passes on what they write. `drain` does so at once.
function relay(path) {
  require('node:child_process').execFileSync('mkfifo', [path])
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  const block = Buffer.alloc(64 * 1024)
  let rest = Buffer.alloc(0)
  const pass = (bytes) => {
    rest = rest.length ? Buffer.concat([rest, bytes]) : Buffer.from(bytes)
    let at
    while ((at = rest.indexOf(10)) >= 0) {
      write(rest.subarray(0, at + 1))
      rest = rest.subarray(at + 1)
    }
  }
  env.RUNNER_CHANNEL = stringify({ ...parse(env.RUNNER_CHANNEL), fifo: path })
  const socket = new (require('node:net').Socket)({ fd, readable: true, writable: false })
  socket.on('data', pass)
  return {
    drain() {
      for (;;) {
        let size
        try {
          size = readSync(fd, block)
        } catch {
          return // EAGAIN: empty
        }
        pass(block.subarray(0, size))
      }
    },
  }
}

/// Lines of JSON from the host. Returns the socket: while it is referenced, the event loop does not run dry.
function listen(on_message, on_end) {
  const socket = new (require('node:net').Socket)({ fd: 3, readable: true, writable: false })
  let parts = []
  socket.on('data', (bytes) => {
    let from = 0
    let at
    while ((at = bytes.indexOf(10, from)) >= 0) {
      parts.push(bytes.subarray(from, at))
      const line = Buffer.concat(parts).toString()
      parts = []
      from = at + 1
      on_message(parse(line))
    }
    parts.push(bytes.subarray(from))
  })
  socket.on('end', on_end)
  socket.on('error', on_end)
  return socket
}

module.exports = { listen, open, relay, send }
