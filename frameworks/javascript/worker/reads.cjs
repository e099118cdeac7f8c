'use strict'
// What is read outside of the project while its tests are listed: the list depends on that, too. To be started before
// anything keeps the functions of fs as they were.

const fs = require('node:fs')
const { syncBuiltinESMExports } = require('node:module')
const { isAbsolute, resolve, sep } = require('node:path')
const { fileURLToPath } = require('node:url')

const READING = [
  'createReadStream', 'open', 'openSync', 'opendir', 'opendirSync', 'readFile', 'readFileSync', 'readdir',
  'readdirSync',
]
/// What is installed is known otherwise, or the system's.
const OTHERS = /[\\/](node_modules|\.git)([\\/]|$)|^[\\/](dev|etc|lib\w*|proc|sys|usr)([\\/]|$)/

const top = process.cwd()
const seen = new Set()
let started = false

const is_below = (file, folder) => file === folder || file.startsWith(folder.endsWith(sep) ? folder : folder + sep)

/// Tells `on_path` of each file and folder once.
function start(on_path = () => {}) {
  if (started) return
  started = true
  const note = (what) => {
    if (what instanceof URL && what.protocol === 'file:') what = fileURLToPath(what)
    if (typeof what !== 'string') return
    const file = isAbsolute(what) ? resolve(what) : resolve(top, what)
    if (seen.has(file) || is_below(file, top) || is_below(file, __dirname) || OTHERS.test(file)) return
    seen.add(file)
    on_path(file)
  }
  for (const owner of [fs, fs.promises]) {
    for (const name of READING.filter((one) => owner[one])) {
      const original = owner[name]
      owner[name] = function (what, ...more) {
        if (!/^open(Sync)?$/.test(name) || !/[aw]/.test(more[0])) note(what)
        return original.call(this, what, ...more)
      }
    }
  }
  syncBuiltinESMExports()
}

/// All of them, but for those in folders that tools keep for themselves.
const outside = (ignored) => [...seen].filter((file) => !ignored.some((folder) => is_below(file, folder)))

module.exports = { outside, start }
