'use strict'
// Runs once, whatever the number of workers.
module.exports = async () => {
  process.env.TILL_OPENED = String(process.pid)
}
