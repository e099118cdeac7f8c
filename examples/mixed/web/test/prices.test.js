import { describe, expect, it } from 'vitest'

const format = (cents) => `${(cents / 100).toFixed(2)} €`

describe('format', () => {
  it('writes two digits', () => expect(format(250)).toBe('2.50 €'))
  it('writes large sums', () => expect(format(123456)).toBe('1234.56 €'))
  it.skip('groups thousands', () => expect(format(123456)).toBe('1 234.56 €'))
})
