'use strict'
// How tests are told apart: by their titles, from the outermost suite to the test, and, where several tests of a file
// have the same ones, by their order.

const { parse, stringify } = JSON // a test may put others in their place

/// Gives a key to each test of a file; to be asked for all of them, in the order of definition.
function keys() {
  const seen = new Map()
  return (titles) => {
    const name = stringify(titles)
    const n = (seen.get(name) ?? 0) + 1
    seen.set(name, n)
    return n === 1 ? name : `${name}#${n}`
  }
}

/// Gives a name of its own to each of several things that may have the same.
function unique() {
  const seen = new Set()
  return (name) => {
    let own = name
    for (let n = 2; seen.has(own); n++) own = `${name || '.'} #${n}`
    seen.add(own)
    return own
  }
}

/// The titles behind a key.
const titles = (key) => parse(key.replace(/#\d+$/, ''))

/// The pattern that selects just these tests where a runner joins their titles with blanks.
function pattern(keys) {
  const names = keys.map((key) => titles(key).join(' '))
  const escaped = [...new Set(names)].map((name) => name.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'))
  return `^(?:${escaped.join('|')})$`
}

const strip = (text) => require('node:util').stripVTControlCharacters(String(text ?? ''))

/// An error as our results have it: what it says in one line, its type, and all there is to read.
function failure(error, text) {
  const whole = strip(text ?? error?.stack ?? error?.message ?? error)
  const said = strip(error?.message ?? '').trim() || whole.trim()
  return {
    message: said.split('\n', 1)[0].slice(0, 1000) || 'it failed',
    type: typeof error?.name === 'string' ? error.name : undefined,
    trace: whole,
  }
}

/// What is to be said of the tries that a runner gave a test by itself.
function retried(runner, passed, tries) {
  if (!tries) return undefined
  const text = `${passed ? 'passed' : 'failed'} after ${tries} ${tries === 1 ? 'retry' : 'retries'} of its own`
  return [[runner, text]]
}

module.exports = { failure, keys, pattern, retried, strip, titles, unique }
