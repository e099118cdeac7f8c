'use strict'
module.exports = async () => {
  if (!process.env.TILL_OPENED) throw new Error('the till was never opened')
}
