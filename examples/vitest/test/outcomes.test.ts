import { beforeAll, describe, expect, it } from 'vitest'

describe('outcomes', () => {
  it('fails', () => expect({ price: 1 }).toEqual({ price: 2 }))
  it('fails for no reason', () => {
    throw undefined
  })
  it('is flaky', () => expect(Number(process.env.RUNNER_ATTEMPT)).toBeGreaterThan(1))

  let tries = 0
  it('is tried again by vitest', { retry: 2 }, () => expect(++tries).toBe(2))
  it('is skipped while it runs', ({ skip }) => skip('nothing in stock'))
  it.fails('is known to fail', () => expect(1).toBe(2))
  it('takes too long for vitest', { timeout: 50 }, () => new Promise(() => {}))
})

describe('without a shop', () => {
  beforeAll(() => {
    throw new Error('the shop is closed')
  })
  it('buys', () => {})
  it('sells', () => {})
})
