import { countKind } from './decisions.js'
import { element, setAttribute, setText, svgElement } from './elements.js'
import { formatMinute, formatMs, formatNumber, formatShare, formatTime, NONE } from './format.js'
import { HEIGHT, pathOf, scaleOf, WIDTH } from './scale.js'

const SPAN_MS = 600_000

/** Decisions of one kind, for each second. */
const perSecond = (kind) => (sample, seconds) => {
  if (sample.requestsPerSecond === null) return null
  return countKind(sample.decisions, kind) / seconds
}
const rate = (value) => [formatNumber(value), '/s']
const plain = (value) => [formatNumber(value), '']

/** `least` keeps the scale from making mountains of nothing. */
const PLOTS = [
  {
    title: 'Requests',
    format: rate,
    least: 1,
    series: [{ label: '', line: 'a', value: (sample) => sample.requestsPerSecond }],
  },
  {
    title: 'Errors, share of 5xx',
    format: formatShare,
    least: 0.01,
    most: 1,
    series: [{ label: '', line: 'bad', value: (sample) => sample.errorShare }],
  },
  {
    title: 'Latency, logarithmic',
    format: formatMs,
    formatTop: (ms) => (ms < 1000 ? [formatNumber(ms), 'ms'] : [formatNumber(ms / 1000), 's']),
    least: 100,
    bottom: 0.1,
    series: [
      { label: 'p50', line: 'a', value: (sample) => sample.p50Ms },
      { label: 'p99', line: 'b', value: (sample) => sample.p99Ms },
    ],
  },
  {
    title: 'Decisions per second',
    format: plain,
    least: 1,
    series: [
      { label: 'authenticated', line: 'a', value: perSecond('authenticated') },
      { label: 'anonymous', line: 'b', value: perSecond('anonymous') },
      { label: 'refused', line: 'warn', value: perSecond('refused') },
      { label: 'failed', line: 'bad', value: perSecond('failed') },
    ],
  },
  {
    title: 'Look-ups per query',
    format: plain,
    least: 1,
    series: [{ label: '', line: 'a', value: (sample) => sample.lookupsPerQuery }],
  },
  {
    title: 'In flight',
    format: plain,
    least: 1,
    series: [{ label: '', line: 'a', value: (sample) => sample.inFlight }],
  },
]

function createPlot(config, onCursor) {
  const lines = config.series.map(({ line }) => svgElement('path', { class: `line line-${line}` }))
  const cursor = svgElement('path', { class: 'cursor' })
  const svg = svgElement('svg', {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: 'none',
    'aria-hidden': 'true',
  })
  const grid = svgElement('path', { class: 'grid' })
  svg.append(grid, ...lines, cursor)
  const readouts = config.series.map(({ label, line }) => {
    const value = element('span', { class: 'value' }, NONE)
    const unit = element('span', { class: 'unit' })
    const sample = svgElement('svg', { class: 'key', viewBox: '0 0 24 8', 'aria-hidden': 'true' })
    sample.append(svgElement('path', { class: `line line-${line}`, d: 'M0 4H24' }))
    const term = label === '' ? [] : [element('span', { class: 'label' }, sample, label)]
    return {
      value,
      unit,
      root: element('p', { class: 'readout' }, ...term, element('span', { class: 'figure' }, value, unit)),
    }
  })
  const top = element('span', { class: 'top-value' })
  const ends = [element('span'), element('span'), element('span')]
  const stage = element(
    'div',
    {
      class: 'stage',
      tabindex: '0',
      role: 'slider',
      'aria-label': `${config.title}: moment`,
      'aria-valuemin': '-600',
      'aria-valuemax': '0',
      'aria-valuenow': '0',
    },
    top,
    svg,
  )
  const summary = element('p', { class: 'unseen' })
  const root = element(
    'figure',
    { class: 'card plot' },
    element('figcaption', {}, config.title),
    element('div', { class: `readouts readouts-${readouts.length}` }, ...readouts.map((each) => each.root)),
    stage,
    element('div', { class: 'axis', 'aria-hidden': 'true' }, ...ends),
    summary,
  )
  listen(stage, onCursor)
  return { config, root, grid, lines, cursor, readouts, top, ends, stage, summary }
}

/** Pointing at a moment, or moving to it by keys, shows it in all plots; leaving shows what is now. */
function listen(stage, onCursor) {
  const point = (event) => {
    const { left, width } = stage.getBoundingClientRect()
    onCursor({ share: Math.min(1, Math.max(0, (event.clientX - left) / width)) })
  }
  stage.addEventListener('pointermove', point)
  stage.addEventListener('pointerdown', point)
  stage.addEventListener('pointerleave', () => onCursor(null))
  stage.addEventListener('blur', () => onCursor(null))
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -30, PageUp: 30 }
  const jumps = { Home: { share: 0 }, End: null, Escape: null }
  stage.addEventListener('keydown', (event) => {
    if (event.key in steps) onCursor({ step: steps[event.key] })
    else if (event.key in jumps) onCursor(jumps[event.key])
    else return
    event.preventDefault()
  })
}

/** @returns shows samples, the oldest first */
export function createPlots(container, moment) {
  const plots = PLOTS.map((config) => createPlot(config, moveCursor))
  container.append(...plots.map(({ root }) => root))
  let samples = []
  /** When the moment is that is shown; null is the last. */
  let shownAt = null

  function moveCursor(to) {
    const last = samples.length - 1
    if (to === null || last < 0) shownAt = null
    else if ('share' in to) shownAt = nearestSample(samples, samples[last].at - (1 - to.share) * SPAN_MS).at
    else {
      const from = shownAt === null ? last : samples.indexOf(nearestSample(samples, shownAt))
      shownAt = samples[Math.min(last, Math.max(0, from + to.step))].at
    }
    drawMoment()
  }

  function drawMoment() {
    const last = samples.at(-1)
    const sample = shownAt === null || last === undefined ? last : nearestSample(samples, shownAt)
    setText(moment, sample === undefined ? '' : shownAt === null ? 'now' : `at ${formatTime(sample.at)}`)
    if (sample === undefined) return
    const x = WIDTH - ((last.at - sample.at) / SPAN_MS) * WIDTH
    for (const plot of plots) {
      setAttribute(plot.cursor, 'd', shownAt === null ? '' : `M${x.toFixed(1)} 0V${HEIGHT}`)
      for (const [i, { value }] of plot.config.series.entries()) {
        showReadout(plot.readouts[i], plot.config.format(value(sample, samples.seconds)))
      }
      setAttribute(plot.stage, 'aria-valuenow', String(Math.round((sample.at - last.at) / 1000)))
      setAttribute(
        plot.stage,
        'aria-valuetext',
        `${formatTime(sample.at)}: ${describeSample(plot, sample, samples.seconds)}`,
      )
    }
  }

  return {
    show(given, seconds) {
      samples = Object.assign([...given], { seconds })
      for (const plot of plots) drawLines(plot, samples)
      drawMoment()
    },
  }
}

function showReadout(readout, [text, unit]) {
  const after = unit === '' ? '' : ` ${unit}`
  if (readout.value.textContent === text && readout.unit.textContent === after) return
  // New text for both: a unit that a longer number moves would count as a shift of the layout.
  readout.value.textContent = text
  readout.unit.textContent = after
}

function describeSample({ config }, sample, seconds) {
  return config.series
    .map(({ label, value }) => `${label} ${config.format(value(sample, seconds)).join(' ')}`.trim())
    .join(', ')
}

function drawLines(plot, samples) {
  const { config } = plot
  const last = samples.at(-1)
  if (last === undefined) return
  const all = config.series.map(({ value }) =>
    samples.map((sample) => ({
      at: sample.at,
      x: Number((WIDTH - ((last.at - sample.at) / SPAN_MS) * WIDTH).toFixed(1)),
      value: value(sample, samples.seconds),
    })),
  )
  const values = all.flatMap((points) => points.map(({ value }) => value ?? 0))
  const { top, grid, y } = scaleOf(Math.max(...values), config)
  setAttribute(plot.grid, 'd', grid.map((height) => `M0 ${height.toFixed(1)}H${WIDTH}`).join(''))
  setText(plot.top, (config.formatTop ?? config.format)(top).join(' ').trim())
  for (const [i, points] of all.entries()) {
    // What is bad and does not happen needs no red line.
    const quiet = isAlarm(config.series[i]) && points.every(({ value }) => !value)
    setAttribute(plot.lines[i], 'd', quiet ? '' : pathOf(points, y, samples.seconds * 3000))
  }
  const times = [last.at - SPAN_MS, last.at - SPAN_MS / 2, last.at]
  for (const [i, at] of times.entries()) setText(plot.ends[i], formatMinute(at))
  const most = config.series.map(({ label }, i) => {
    const known = all[i].map(({ value }) => value).filter((value) => value !== null)
    if (known.length === 0) return `${label} no value`.trim()
    const [low, high] = [Math.min(...known), Math.max(...known)].map((value) =>
      config.format(value).join(' '),
    )
    return `${label} between ${low} and ${high}`.trim()
  })
  setText(plot.summary, `In the last ten minutes ${most.join(', ')}.`)
}

function isAlarm({ line }) {
  return line === 'bad' || line === 'warn'
}

function nearestSample(samples, at) {
  return samples.reduce((best, sample) => (Math.abs(sample.at - at) < Math.abs(best.at - at) ? sample : best))
}
