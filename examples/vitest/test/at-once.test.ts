import { describe, expect, it } from 'vitest'

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

describe.concurrent('at once', () => {
  it('the slow one', async () => {
    await pause(60)
    expect(1).toBe(1)
  })
  it('the quick one', () => pause(5))
  it('the one that fails', async () => {
    await pause(20)
    throw new TypeError('no change')
  })
})
