'use strict'
// Takes what tests write to process.stdout and process.stderr to the host, with the test that wrote it, in the order of
// all other messages. What goes to the descriptors themselves, from native code or children, comes as plain output.

const { isUtf8 } = require('node:buffer')
const { send } = require('./channel.cjs')

const { nextTick } = process
const MARK = Symbol.for('runner.capture')

/// The tokens that the host gave to tests; `current` is that of the test that runs.
const state = (globalThis[MARK] ??= { current: undefined })

function take(stream, name) {
  if (stream[MARK]) return
  stream[MARK] = true
  stream.write = function (chunk, encoding, callback) {
    if (typeof encoding === 'function') [encoding, callback] = [undefined, encoding]
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : Buffer.from(chunk)
    if (bytes.length) {
      const text = isUtf8(bytes)
      send({ output: [name, state.current ?? 0, text ? bytes.toString() : bytes.toString('hex'), text ? 0 : 1] })
    }
    if (callback) nextTick(callback)
    return true
  }
}

function start() {
  take(process.stdout, 'stdout')
  take(process.stderr, 'stderr')
}

module.exports = { start, state }
