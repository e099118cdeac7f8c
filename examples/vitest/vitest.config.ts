import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.{ts,js}'],
    globalSetup: './test/shop.setup.ts',
    setupFiles: './test/each-file.ts',
  },
})
