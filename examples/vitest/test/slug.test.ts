import { describe, expect, inject, it, test } from 'vitest'
import { slug } from '../src/slug'

describe('slug', () => {
  it('joins words', () => expect(slug('Two words')).toBe('two-words'))

  describe('in other alphabets', () => {
    it('drops accents: Crème brûlée', () => expect(slug('Crème brûlée!')).toBe('creme-brulee'))
    it('日本語 🎉', () => expect(slug('日本語 🎉')).toBe(''))
  })

  it.each([
    ['a b', '_', 'a_b'],
    ['', '-', ''],
  ])('of %j with %s is %j', (title, separator, expected) => {
    expect(slug(title, { separator })).toBe(expected)
  })

  it.skip('knows German', () => expect(slug('Größe')).toBe('groesse'))
  it.todo('knows Turkish')
  it('is the same twice', () => {})
  it('is the same twice', () => expect(slug(slug('A B'))).toBe('a-b'))
})

test('-t is no option', () => {})
test('quotes: \'single\', "double", `back`, $dollar and [brackets] (a|b)*', () => {})
test('a title\nof two lines', () => {})
test('the shop is set up once, for all workers', () => {
  expect(inject('shop').name).toBe('Corner Shop')
  expect(process.env.SHOP_OPENED).toMatch(/^\d+$/)
})
