'use strict'

// Once, whatever the number of workers.
exports.mochaGlobalSetup = async () => {
  process.env.FORUM_OPENED = String(process.pid)
}

exports.mochaHooks = {
  beforeEach() {
    this.opened = process.env.FORUM_OPENED
  },
}
