'use strict'
// Finds a package as the project's own code would: upward from the working folder, through workspaces and Plug'n'Play.

const fs = require('node:fs')
const { createRequire } = require('node:module')
const path = require('node:path')
const { pathToFileURL } = require('node:url')

function find_up(name, from) {
  for (let folder = from; ; folder = path.dirname(folder)) {
    const file = path.join(folder, name)
    if (fs.existsSync(file)) return file
    if (folder === path.dirname(folder)) return undefined
  }
}

/// The package is not there at all, or only of a version that cannot be used.
class Missing extends Error {
  constructor(message, absent) {
    super(message)
    this.absent = absent
  }
}

/// The package: { folder, version, major, require, import(entry) }.
function locate(name, oldest) {
  const from = process.cwd()
  const pnp = find_up('.pnp.cjs', from)
  if (pnp && !process.versions.pnp) require(pnp).setup()
  let file
  try {
    file = createRequire(path.join(from, 'package.json')).resolve(`${name}/package.json`)
  } catch {
    throw new Missing(`${name} is not installed: there is no node_modules/${name} in ${from} or above it`, true)
  }
  const about = JSON.parse(fs.readFileSync(file, 'utf8'))
  const major = Number.parseInt(about.version, 10)
  if (major < oldest) {
    throw new Missing(`${name} ${about.version} is too old: ${oldest} or newer is needed`)
  }
  const folder = path.dirname(fs.realpathSync(file))
  return {
    folder,
    version: about.version,
    major,
    require: createRequire(path.join(folder, 'package.json')),
    /// The file behind an entry of the package's "exports".
    entry(key) {
      let found = about.exports[key]
      while (found && typeof found !== 'string') found = found.import ?? found.default
      return path.join(folder, found)
    },
    import(key) {
      return import(pathToFileURL(this.entry(key)))
    },
  }
}

module.exports = { Missing, locate }
