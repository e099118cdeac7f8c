'use strict'

it('runs before the hang', () => {})
it('hangs', () => {
  for (;;);
})
it('runs after the hang', () => {})
