import { writeFile } from 'node:fs/promises'

export interface Plot {
  readonly title: string
  readonly x: Axis
  readonly y: Axis
  readonly series: readonly Series[]
}

export interface Axis {
  readonly label: string
  readonly log?: boolean
}

export interface Series {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

const WIDTH = 720
const HEIGHT = 400
const LEFT = 80
const RIGHT = 20
const TOP = 40
const BOTTOM = 60
const COLOURS = ['#1f6feb', '#d1242f', '#1a7f37', '#9a6700']

export async function writePlot(name: string, plot: Plot): Promise<void> {
  await writeFile(new URL(`${name}.svg`, import.meta.url), drawPlot(plot))
}

/** @returns an SVG document */
function drawPlot({ title, x, y, series }: Plot): string {
  const points = series.flatMap((each) => each.points)
  const across = createScale(
    points.map(([value]) => value),
    x,
    [LEFT, WIDTH - RIGHT],
  )
  const up = createScale(
    points.map(([, value]) => value),
    y,
    [HEIGHT - BOTTOM, TOP],
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" role="img">
<title>${escapeXml(title)}</title>
<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>
${drawText(WIDTH / 2, 20, title, 'font-size="15" text-anchor="middle"')}
${across.ticks.map((tick) => drawVerticalRule(across.at(tick), tick)).join('\n')}
${up.ticks.map((tick) => drawHorizontalRule(up.at(tick), tick)).join('\n')}
${drawText(WIDTH / 2, HEIGHT - 12, x.label, 'text-anchor="middle"')}
${drawText(16, HEIGHT / 2, y.label, `text-anchor="middle" transform="rotate(-90 16 ${HEIGHT / 2})"`)}
${series.map((each, i) => drawLine(each, COLOURS[i % COLOURS.length]!, i, across.at, up.at)).join('\n')}
</svg>
`
}

interface Scale {
  at(value: number): number
  readonly ticks: readonly number[]
}

function createScale(values: readonly number[], { log = false }: Axis, [from, to]: [number, number]): Scale {
  const highest = Math.max(...values)
  const ticks = log ? decades(Math.min(...values), highest) : roundSteps(highest)
  const [low, high] = [ticks[0]!, ticks.at(-1)!]
  const place = log ? Math.log10 : (value: number) => value
  const span = place(high) - place(low) || 1
  return { ticks, at: (value) => from + ((place(value) - place(low)) / span) * (to - from) }
}

function decades(lowest: number, highest: number): number[] {
  const first = Math.floor(Math.log10(lowest))
  const last = Math.max(first + 1, Math.ceil(Math.log10(highest)))
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i))
}

/** From 0 upwards in steps of 1, 2 or 5 times a power of ten, about five of them. */
function roundSteps(highest: number): number[] {
  const rough = (highest || 1) / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough)!
  return Array.from({ length: Math.ceil((highest || 1) / step) + 1 }, (_, i) => i * step)
}

function drawVerticalRule(x: number, tick: number): string {
  return `<path d="M${x.toFixed(1)} ${TOP}V${HEIGHT - BOTTOM}" stroke="#ddd"/>${drawText(x, HEIGHT - BOTTOM + 18, formatNumber(tick), 'text-anchor="middle"')}`
}

function drawHorizontalRule(y: number, tick: number): string {
  return `<path d="M${LEFT} ${y.toFixed(1)}H${WIDTH - RIGHT}" stroke="#ddd"/>${drawText(LEFT - 8, y + 4, formatNumber(tick), 'text-anchor="end"')}`
}

function drawLine(
  { name, points }: Series,
  colour: string,
  nth: number,
  ...[x, y]: [x: Scale['at'], y: Scale['at']]
): string {
  const path = points
    .map(([px, py], i) => `${i === 0 ? 'M' : 'L'}${x(px).toFixed(1)} ${y(py).toFixed(1)}`)
    .join('')
  const dots = points
    .map(([px, py]) => `<circle cx="${x(px).toFixed(1)}" cy="${y(py).toFixed(1)}" r="3" fill="${colour}"/>`)
    .join('')
  const label = drawText(LEFT + 10, TOP + 14 + nth * 16, name, `fill="${colour}"`)
  return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="2"/>${dots}${label}`
}

function drawText(x: number, y: number, content: string, attributes: string): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escapeXml(content)}</text>`
}

function escapeXml(content: string): string {
  return content.replace(/[&<>]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[sign]!)
}

function formatNumber(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))} M`
  if (value >= 1e4) return `${Number((value / 1e3).toPrecision(3))} k`
  return String(Number(value.toPrecision(3)))
}
