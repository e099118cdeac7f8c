'use strict'

/** What a till gives back, largest coins first. */
function change(cents, coins = [200, 100, 50, 20, 10, 5, 2, 1]) {
  if (!Number.isInteger(cents) || cents < 0) throw new RangeError(`no sum of money: ${cents}`)
  const given = []
  for (const coin of coins) {
    for (; cents >= coin; cents -= coin) given.push(coin)
  }
  return given
}

module.exports = { change }
