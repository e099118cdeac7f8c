'use strict'
const { change } = require('../src/till')

describe('outcomes', () => {
  it('fails', () => expect(change(3)).toEqual([1, 1, 1]))
  it('fails for no reason', () => {
    throw undefined
  })
  it('is flaky', () => expect(Number(process.env.RUNNER_ATTEMPT)).toBeGreaterThan(1))
  it.failing('is known to fail', () => expect(1).toBe(2))
  it('takes too long for jest', () => new Promise(() => {}), 50)
  it.concurrent('runs beside others', async () => {})
})

describe('tried again by jest', () => {
  jest.retryTimes(2)
  let tries = 0
  it('passes on the second try', () => expect(++tries).toBe(2))
})

describe('without a till', () => {
  beforeAll(() => {
    throw new Error('the till is stuck')
  })
  it('buys', () => {})
  it('sells', () => {})
})
