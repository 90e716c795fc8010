import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

const CHROMIUM = '/usr/bin/chromium'

export function chromiumIsInstalled(): boolean {
  return existsSync(CHROMIUM)
}

/** Debian's Chromium without a window. @param args further switches of its own */
export function startChromium(args: readonly string[] = []): Promise<Browser> {
  // It refuses to sandbox itself for root, as which containers run tests.
  const root = process.getuid?.() === 0 ? ['--no-sandbox'] : []
  return chromium.launch({ executablePath: CHROMIUM, args: [...root, ...args] })
}
