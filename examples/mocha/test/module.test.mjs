import assert from 'node:assert'
import { setTimeout as pause } from 'node:timers/promises'
import { roman } from '../lib/roman.js'

describe('an ES module', () => {
  it('imports', async () => {
    await pause(1)
    assert.strictEqual(roman(9), 'IX')
  })
  it('fails', () => assert.strictEqual(roman(9), 'VIIII'))
})
