'use strict'
const assert = require('node:assert')
const { roman } = require('../lib/roman')

describe('roman', () => {
  for (const [number, text] of [[1, 'I'], [14, 'XIV'], [1999, 'MCMXCIX']]) {
    it(`writes ${number} as ${text}`, () => assert.strictEqual(roman(number), text))
  }

  context('with odd numbers', () => {
    it('refuses 0', () => assert.throws(() => roman(0), RangeError))
    it('refuses 4000', () => assert.throws(() => roman(4000), RangeError))
  })

  it.skip('writes 4000', () => {})
  it('writes fractions')
  it('is the same twice', () => {})
  it('is the same twice', () => assert.strictEqual(roman(7), roman(7)))
})

it('größe: 日本語 🎉', () => {})
it('-g is no option', () => {})
it('quotes: \'single\', "double", `back`, $dollar and [brackets] (a|b)*', () => {})
it('a title\nof two lines', () => {})
it('the forum is opened once, for all workers', function () {
  assert.match(this.opened, /^\d+$/)
})
