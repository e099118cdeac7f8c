'use strict'
// The folder that this process is in: where it started, which files are named by, and where it was when the
// configuration had been read, where each file is to begin whatever those before it did.

const path = require('node:path')

const start = process.cwd()
let kept = start

const absolute = (file) => path.resolve(start, file)
const relative = (file) => path.relative(start, file)

function keep() {
  kept = process.cwd()
}

function restore() {
  try {
    process.chdir(kept)
  } catch {
    // It is gone, or this thread may not: what needs it will say so.
  }
}

module.exports = { absolute, keep, relative, restore }
