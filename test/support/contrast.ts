import type { Page } from 'playwright-core'

/** Texts whose contrast with their background is below 4.5 (WCAG 2.2, 1.4.3). */
const LOW_CONTRAST = `(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number)
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor)
      if (colour.length === 3 || colour[3] === 1) return colour
    }
    return [255, 255, 255]
  }
  const low = []
  let count = 0
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walker.nextNode()) {
    const { parentElement: of, data } = walker.currentNode
    if (data.trim() === '' || of.closest('script, style, noscript')) continue
    count++
    const [a, b] = [light(rgb(getComputedStyle(of).color)), light(ground(of))].sort((x, y) => y - x)
    const ratio = (a + 0.05) / (b + 0.05)
    if (ratio < 4.5) low.push(data.trim() + ' ' + ratio.toFixed(2))
  }
  return { count, low }
})()`

/** @returns how many texts the page shows, and those that are hard to read */
export async function judgeContrast(page: Page): Promise<{ readonly count: number; readonly low: string[] }> {
  return await page.evaluate(LOW_CONTRAST)
}
