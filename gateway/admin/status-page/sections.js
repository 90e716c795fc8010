import { KINDS, kindOf } from './decisions.js'
import { byId, element, follow, followLines, followTable, setAttribute, setText } from './elements.js'
import {
  formatBytes,
  formatCount,
  formatMoment,
  formatMs,
  formatNumber,
  formatSpan,
  NONE,
  plural,
} from './format.js'

/** @param lost when the last answer came, as text, where none comes now */
export function showReadiness({ ready, causes, tokenStore }, lost = null) {
  const card = byId('readiness')
  setAttribute(card, 'data-state', lost === null ? (ready ? 'good' : 'bad') : 'lost')
  setText(byId('state'), lost === null ? (ready ? 'Ready' : 'Not ready') : `No answer since ${lost}`)
  const note = ready
    ? 'It gets traffic, and can query the token table.'
    : 'Load balancers should send it no traffic.'
  const lines = [
    note,
    ...describeTimelines(tokenStore?.timelines),
    ...causes.map(({ reason, cause }) => (reason === null ? cause : `${reason}: ${cause}`)),
  ]
  const then = ['The page tries again every two seconds. The values below are from that time.']
  followLines(byId('reasons'), lost === null ? lines : then)
}

/** What keeps an old primary of the database out. */
function describeTimelines(timelines) {
  if (timelines === undefined) return []
  const { newest, untold } = timelines
  if (untold) return ['The database does not tell its timeline: an old primary would not be noticed.']
  return newest === null
    ? []
    : [`The database is on timeline ${newest}; primaries on older ones are refused.`]
}

/** The first thing to look at. @param lost when the last answer came, as text, where none comes now */
export function showProblems(problems, lost = null) {
  const worst = problems.some(({ severity }) => severity === 'red') ? 'bad' : 'warn'
  const state = lost !== null ? 'lost' : problems.length === 0 ? 'good' : worst
  setAttribute(byId('now'), 'data-state', state)
  const none = { severity: 'good', what: 'Nothing is wrong.', detail: '', section: null }
  follow(byId('now-list'), lost === null && problems.length === 0 ? [none] : problems, {
    key: ({ severity, what }) => `${severity} ${what}`,
    make: ({ severity, what, section }) =>
      element(
        'li',
        { 'data-severity': severity },
        element('strong', {}, what),
        element('span', { class: 'note' }),
        ...(section === null
          ? []
          : [
              element(
                'span',
                { class: 'soft' },
                'What to do: ',
                element('code', {}, `docs/operating.md, ${section}`),
              ),
            ]),
      ),
    update: (item, { detail }) => setText(item.children[1], detail),
  })
}

export function showRoutingFile(routing) {
  const bad = routing !== null && routing.problems.length > 0
  setAttribute(byId('routing'), 'data-state', routing === null ? 'unknown' : bad ? 'bad' : 'good')
  if (routing === null) {
    setText(byId('routing-state'), 'Not known')
    return followLines(byId('problems'), ['No process answers.'])
  }
  const found = plural(routing.problems.length, 'problem')
  setText(byId('routing-state'), bad ? `Refused, ${found}` : 'In force')
  const since = `in force since ${formatMoment(routing.loadedAt)}`
  const read = `Read ${formatMoment(routing.readAt)}; the one before stays ${since}`
  const name = routing.file.split('/').pop()
  const problems = routing.problems.map(({ line, column, pointer, message }) => {
    const place = line === null ? name : `${name}:${line}:${column}`
    return { place: `${place} ${pointer}`.trim(), text: message }
  })
  const lines = bad ? [{ place: '', text: read }, ...problems] : [{ place: '', text: `Read and ${since}` }]
  if (!bad) lines.push({ place: routing.file, text: '' })
  follow(byId('problems'), Array.from(lines.entries()), {
    // A line that has moved is a new one: what stands still in a box that is scrolled is the box.
    key: (entry) => JSON.stringify(entry),
    make: ([, { place, text }]) =>
      element('li', {}, ...(place === '' ? [] : [element('code', {}, place), ' ']), text),
  })
}

export function showBuild({ version, node, uptimeS, workers, processes }) {
  const facts = [
    ['Version', version],
    ['Node', node.replace(/^v/, '')],
    ['Up', formatSpan(uptimeS)],
    [
      'Workers',
      processes.length === workers ? formatCount(workers) : `${processes.length} of ${workers} answer`,
    ],
  ]
  follow(byId('facts'), facts, {
    key: ([name]) => name,
    make: ([name]) => element('div', {}, element('dt', {}, name), element('dd')),
    update: (row, [, value]) => setText(row.lastElementChild, value),
  })
}

const STATES = { authenticated: 'good', anonymous: 'plain', refused: 'warn', failed: 'bad' }

export function showDecisions(totals, samples) {
  const recent = {}
  for (const { decisions } of samples)
    for (const [name, count] of Object.entries(decisions)) recent[name] = (recent[name] ?? 0) + count
  const all = new Set([...Object.keys(totals), ...Object.keys(recent)])
  const names = [...all].filter((name) => (totals[name] ?? 0) + (recent[name] ?? 0) > 0)
  const rank = (name) => KINDS.indexOf(kindOf(name))
  names.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b))
  const rows = names.map((name) => {
    const kind = kindOf(name)
    const note = kind === name ? '' : kind
    return {
      key: name,
      cells: [
        { text: name, note, state: STATES[kind] },
        formatCount(recent[name] ?? 0),
        formatCount(totals[name] ?? 0),
      ],
    }
  })
  const columns = [
    { title: 'decision', kind: 'name' },
    { title: '10 min', kind: 'number' },
    { title: 'total', kind: 'number' },
  ]
  followTable(byId('decisions-table'), columns, rows, 'None yet.')
}

const STREAM_KINDS = [
  ['websocket', 'WebSocket'],
  ['sse', 'server-sent events'],
  ['other', 'other long answers'],
]

export function showStreams(openStreams) {
  const columns = [
    { title: 'kind', kind: 'name' },
    { title: 'open', kind: 'number' },
  ]
  const rows = STREAM_KINDS.map(([key, name]) => ({ key, cells: [name, formatCount(openStreams[key])] }))
  followTable(byId('streams-table'), columns, rows, '')
}

export function showProcesses(processes, count) {
  const columns = [
    { title: 'process', kind: 'name' },
    { title: 'up', kind: 'number' },
    { title: 'memory', kind: 'number' },
    { title: 'in flight', kind: 'number' },
  ]
  const rows = processes.map(({ pid, uptimeS, residentBytes, inFlight }) => ({
    key: String(pid),
    cells: [String(pid), formatSpan(uptimeS), formatBytes(residentBytes), formatCount(inFlight)],
  }))
  for (let n = rows.length; n < count; n++) {
    rows.push({ key: `missing ${n}`, cells: [{ text: 'no answer', state: 'bad' }, NONE, NONE, NONE] })
  }
  followTable(byId('processes-table'), columns, rows, '')
}

/** Requests that each target has had, and when that was: rates are between two answers. */
let before = { at: 0, counts: new Map() }

export function showUpstreams(upstreams, processes, at) {
  const counts = new Map()
  const seconds = (at - before.at) / 1000
  const rows = upstreams.flatMap(({ name, balance, targets }) => {
    const up = targets.filter(({ state }) => state === 'up').length
    const state = up === targets.length ? 'plain' : up === 0 ? 'bad' : 'warn'
    const head = { text: name, note: `${up} of ${plural(targets.length, 'target')} up, ${balance}`, state }
    return [
      { key: `upstream ${name}`, isGroup: true, cells: [head] },
      ...targets.map((target) => {
        const key = `target ${JSON.stringify([name, target.url])}`
        const count = target.ok + target.errors + target.failed
        const last = before.counts.get(key)
        counts.set(key, count)
        const rate = last === undefined || seconds > 30 ? null : Math.max(0, count - last) / seconds
        return { key, cells: targetCells(target, rate, processes) }
      }),
    ]
  })
  before = { at, counts }
  const columns = [
    { title: 'target', kind: 'name' },
    { title: 'state', kind: 'statecell' },
    { title: 'in flight', kind: 'number' },
    { title: 'requests/s', kind: 'number' },
    { title: '5xx', kind: 'number' },
    { title: 'no answer', kind: 'number' },
  ]
  const targets = upstreams.flatMap((upstream) => upstream.targets)
  const down = targets.filter(({ state }) => state !== 'up').length
  const sum = `${plural(targets.length, 'target')} in ${plural(upstreams.length, 'upstream')}`
  setText(byId('upstreams-sum'), down === 0 ? sum : `${sum}, ${formatCount(down)} down`)
  followTable(byId('upstreams-table'), columns, rows, 'None.')
}

function targetCells(target, rate, processes) {
  const { url, weight, ejections } = target
  const facts = weight === 1 ? [] : [`weight ${formatNumber(weight)}`]
  if (ejections > 0) facts.push(`ejected ${plural(ejections, 'time')} so far`)
  return [
    { text: url, note: facts.join(', ') },
    stateOf(target, processes),
    formatCount(target.inFlight),
    rate === null ? NONE : formatNumber(rate),
    formatCount(target.errors),
    formatCount(target.failed),
  ]
}

function stateOf({ state, reason, ejectedForS, easedTo, upIn }, processes) {
  const some = upIn > 0 && upIn < processes ? `, up in ${upIn} of ${processes} workers` : ''
  if (state === 'up') {
    const eased = easedTo < 100 ? `eased in: ${easedTo}% of its share` : ''
    return { text: 'up', note: eased, state: eased === '' ? 'good' : 'warn' }
  }
  if (state === 'unhealthy') return { text: 'unhealthy', note: `${reason}${some}`, state: 'bad' }
  return { text: `ejected, ${formatSpan(ejectedForS)} left`, note: `${reason}${some}`, state: 'bad' }
}

/** With fewer routes no filter is needed. */
const FILTER_FROM = 20

export function showRoutes(routes) {
  byId('filter').hidden = routes.length < FILTER_FROM
  const wanted = byId('filter-text').value.trim().toLowerCase()
  const rows = routes
    .map(({ route, methods, exact, auth, upstream, requests, errors, p99Ms }) => {
      const shown = methods === null ? 'all' : methods.join(' ')
      return {
        key: JSON.stringify([route, methods, exact]),
        cells: [
          { text: route, note: exact ? 'this path alone' : '' },
          shown,
          auth,
          upstream,
          formatCount(requests),
          formatCount(errors),
          p99Ms === null ? NONE : formatMs(p99Ms).join(' '),
        ],
      }
    })
    .filter(({ key, cells }) => `${key} ${cells.slice(1, 4).join(' ')}`.toLowerCase().includes(wanted))
  const all = plural(routes.length, 'route')
  setText(
    byId('routes-sum'),
    `${rows.length === routes.length ? all : `${formatCount(rows.length)} of ${all}`}, numbers of the last ten minutes`,
  )
  const columns = [
    { title: 'route', kind: 'name' },
    { title: 'methods', kind: 'methods' },
    { title: 'auth', kind: 'auth' },
    { title: 'upstream', kind: 'upstream' },
    { title: 'requests', kind: 'number' },
    { title: '5xx', kind: 'number' },
    { title: 'p99', kind: 'number' },
  ]
  followTable(byId('routes-table'), columns, rows, routes.length === 0 ? 'None.' : 'None of that kind.')
}
