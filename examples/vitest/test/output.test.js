import { expect, it } from 'vitest'

it('prints', () => {
  console.log('to the console')
  console.error('to the console, as an error')
  expect(process.stdout.write('no line end')).toBe(true)
})
it('prints odd bytes', () => {
  process.stdout.write(Buffer.from('latin-1: \xe9\xfc, NUL: \0, escape: \x1b[31m\n', 'latin1'))
})
