import { it } from 'vitest'

it('runs before the crash', () => {})
it('crashes', () => process.abort())
it('runs after the crash', () => {})
