'use strict'
const assert = require('node:assert')

describe('outcomes', () => {
  it('fails', () => assert.deepStrictEqual({ legions: 1 }, { legions: 2 }))
  it('fails for no reason', () => Promise.reject())
  it('is flaky', () => assert.ok(process.env.RUNNER_ATTEMPT > 1))
  it('is skipped while it runs', function () {
    this.skip()
  })
  it('takes too long for mocha', (done) => void done).timeout(50)

  let tries = 0
  it('is tried again by mocha', function () {
    this.retries(2)
    assert.strictEqual(++tries, 2)
  })
})

describe('without a senate', () => {
  before(() => {
    throw new Error('the senate is not in session')
  })
  it('votes', () => {})
  it('argues', () => {})
})

describe('before each', () => {
  beforeEach(function () {
    if (this.currentTest.title === 'is not reached') throw new Error('the road is blocked')
  })
  it('is reached', () => {})
  it('is not reached', () => {})
})
