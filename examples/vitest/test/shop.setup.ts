// Runs once, whatever the number of workers.
import type { TestProject } from 'vitest/node'

export default function setup(project: TestProject) {
  process.env.SHOP_OPENED = String(process.pid)
  project.provide('shop', { name: 'Corner Shop' })
}

declare module 'vitest' {
  export interface ProvidedContext {
    shop: { name: string }
  }
}
