'use strict'
expect.extend({
  toSum(coins, expected) {
    const sum = coins.reduce((a, b) => a + b, 0)
    return { pass: sum === expected, message: () => `${coins.join(' + ')} is ${sum}, not ${expected}` }
  },
})
