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

class Missing extends Error {}

/// The package: { folder, version, require, import(entry) }.
function locate(name, oldest) {
  const from = process.cwd()
  const pnp = find_up('.pnp.cjs', from)
  if (pnp && !process.versions.pnp) require(pnp).setup()
  let file
  try {
    file = createRequire(path.join(from, 'package.json')).resolve(`${name}/package.json`)
  } catch {
    throw new Missing(
      `${name} is not installed: there is no node_modules/${name} in ${from} or above it. Install it where the tests ` +
        'run: node_modules is not sent to sandboxes when git ignores it, so it belongs into their image or into ' +
        'init_command ("npm ci")',
    )
  }
  const about = JSON.parse(fs.readFileSync(file, 'utf8'))
  if (Number.parseInt(about.version, 10) < oldest) {
    throw new Missing(`${name} ${about.version} is too old: ${oldest} or newer is needed`)
  }
  const folder = path.dirname(fs.realpathSync(file))
  return {
    folder,
    version: about.version,
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
