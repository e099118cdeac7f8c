'use strict'
const { change } = require('../src/till')

describe('change', () => {
  it('is nothing for nothing', () => expect(change(0)).toEqual([]))
  it.each([1, 99, 388])('of %d sums up', (cents) => expect(change(cents)).toSum(cents))

  describe('of odd sums', () => {
    test.each`
      sum     | why
      ${-1}   | ${'debts'}
      ${0.5}  | ${'halves'}
      ${'ten'} | ${'words'}
    `('refuses $why ($sum)', ({ sum }) => expect(() => change(sum)).toThrow(RangeError))
  })

  it.skip('knows other currencies', () => {})
  it.todo('knows notes')
  it('is the same twice', () => {})
  it('is the same twice', () => expect(change(7)).toEqual(change(7)))
})

describe('titles', () => {
  it('größe: 日本語 🎉', () => {})
  it('-t is no option', () => {})
  it('quotes: \'single\', "double", `back`, $dollar and [brackets] (a|b)*', () => {})
  it('a title\nof two lines', () => {})
})

it('the till is opened once, for all workers', () => expect(process.env.TILL_OPENED).toMatch(/^\d+$/))
