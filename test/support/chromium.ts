import { existsSync } from 'node:fs'
import { type Browser, type BrowserContext, chromium } from 'playwright-core'

const CHROMIUM = '/usr/bin/chromium'

export function chromiumIsInstalled(): boolean {
  return existsSync(CHROMIUM)
}

/** It refuses to sandbox itself for root, as which containers run tests. */
const ROOT = process.getuid?.() === 0 ? ['--no-sandbox'] : []

/** Debian's Chromium without a window. @param args further switches of its own */
export function startChromium(args: readonly string[] = []): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM, args: [...ROOT, ...args] })
}

/** One that keeps what it knows in a folder, as a person's does. Certificates are not checked. */
export function startPersistentChromium(
  folder: string,
  args: readonly string[] = [],
): Promise<BrowserContext> {
  return chromium.launchPersistentContext(folder, {
    executablePath: CHROMIUM,
    args: [...ROOT, ...args],
    ignoreHTTPSErrors: true,
  })
}
