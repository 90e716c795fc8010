import { byId, letScrollByKeys, setAttribute, setText } from './elements.js'
import { formatTime, timeZone } from './format.js'
import { showMinutes } from './minutes.js'
import { createPlots } from './plots.js'
import {
  showBuild,
  showDecisions,
  showProblems,
  showProcesses,
  showReadiness,
  showRoutes,
  showRoutingFile,
  showStreams,
  showUpstreams,
} from './sections.js'

const EVERY_MS = 2000
/** Longer than a stuck worker holds up an answer. */
const TIMEOUT_MS = 5000
const KEPT_MS = 600_000

/** The last answer, with all that is known of the last ten minutes. */
let known = null
let answeredAt = null
let timer = null
let asking = false
const plots = createPlots(byId('plots'), byId('moment'))

/** Appends to the known samples where the gateway sends only new ones. */
function merge({ history, ...status }) {
  const earlier = history.whole || known === null ? [] : known.samples
  const samples = [...earlier, ...history.samples]
  const from = (samples.at(-1)?.at ?? 0) - KEPT_MS
  return {
    ...status,
    intervalS: history.intervalS,
    cursor: history.cursor,
    samples: samples.filter(({ at }) => at > from),
  }
}

function show(status) {
  document.body.removeAttribute('data-lost')
  document.body.setAttribute('data-shown', '')
  setText(byId('instance'), status.instance)
  byId('instance').title = status.instance
  setText(byId('freshness'), `as of ${formatTime(answeredAt)}`)
  showProblems(status.problems)
  showReadiness(status)
  showRoutingFile(status.routing)
  showBuild(status)
  plots.show(status.samples, status.intervalS)
  if (byId('minutes').open) showMinutes(byId('minutes-table'), status.samples)
  showDecisions(status.totals.decisions, status.samples)
  showStreams(status.openStreams)
  showProcesses(status.processes, status.workers)
  showUpstreams(status.upstreams, status.processes.length, answeredAt)
  showRoutes(status.routes)
  byId('rest').hidden = false
  letScrollByKeys(document.querySelectorAll('.more, .short, .scroll'))
  const [worst] = status.problems
  const says = status.ready ? worst?.what : 'Not ready'
  mark(markOf(status.ready, worst), says === undefined ? '' : `${says}: `, status.instance)
}

function showLost() {
  document.body.setAttribute('data-lost', '')
  const since = formatTime(answeredAt ?? openedAt)
  showProblems(known?.problems ?? [], since)
  showReadiness(known ?? { ready: false, reasons: [], tokenStore: { reason: null } }, since)
  mark('lost', 'No answer: ', known?.instance ?? location.host)
}

const ICONS = {
  good: '<circle cx="8" cy="8" r="7" fill="#1a8f5a"/><path d="M4.5 8.5 7 11l4.5-5.500" fill="none" stroke="#fff" stroke-width="2"/>',
  warn: '<path d="M8 1l7.500 13.500H.5z" fill="#b36b00"/><path d="M8 6v4m0 1.500V13" stroke="#fff" stroke-width="1.500"/>',
  bad: '<path d="M8 0l8 8-8 8-8-8z" fill="#c62828"/><path d="M8 4v5m0 1.500V12" stroke="#fff" stroke-width="2"/>',
  lost: '<circle cx="8" cy="8" r="6" fill="none" stroke="#808890" stroke-width="3" stroke-dasharray="3 2"/>',
}

/** A gateway that is ready may still fail its users. */
function markOf(ready, worst) {
  if (!ready || worst?.severity === 'red') return 'bad'
  return worst === undefined ? 'good' : 'warn'
}

/** Tells it where only the tab is seen. */
function mark(state, prefix, instance) {
  const title = `${prefix}PowerOn Gateway ${instance}`
  if (document.title !== title) document.title = title
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">${ICONS[state]}</svg>`
  setAttribute(byId('icon'), 'href', `data:image/svg+xml,${encodeURIComponent(svg)}`)
}

async function requestStatus() {
  if (asking) return
  asking = true
  clearTimeout(timer)
  try {
    const since = known === null ? '' : `?since=${encodeURIComponent(known.cursor)}`
    const answer = await fetch(`status.json${since}`, {
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    if (!answer.ok) throw new Error(`status.json answered with ${answer.status}`)
    const status = await answer.json()
    answeredAt = Date.now()
    known = merge(status)
    show(known)
  } catch (error) {
    console.warn(error)
    showLost()
  }
  asking = false
  timer = setTimeout(requestStatus, EVERY_MS)
}

const openedAt = Date.now()
setText(byId('zone'), timeZone())
byId('filter-text').addEventListener('input', () => known !== null && showRoutes(known.routes))
byId('minutes').addEventListener('toggle', () => {
  if (known !== null) showMinutes(byId('minutes-table'), known.samples)
})
// A browser slows the timers of a hidden page.
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') void requestStatus()
})
void requestStatus()
