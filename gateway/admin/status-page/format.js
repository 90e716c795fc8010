/* Numbers as people read them. A value that is not there is a dash. */

export const NONE = '–'

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const HUGE = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 4 })
const SHORT = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 })
/* The Swedish way to write a time is that of ISO 8601, which reads the same everywhere, and as in the log. */
const TIME = new Intl.DateTimeFormat('sv-SE', { timeStyle: 'medium' })
const MINUTE = new Intl.DateTimeFormat('sv-SE', { timeStyle: 'short' })
const MOMENT = new Intl.DateTimeFormat('sv-SE', { dateStyle: 'short', timeStyle: 'medium' })

/** A count: no digit is left out below a thousand million. */
export function formatCount(value) {
  return (value < 1e9 ? WHOLE : HUGE).format(value)
}

/** Three digits that matter, all of them before the point. */
export function formatNumber(value) {
  if (value === null || value === undefined) return NONE
  return Math.abs(value) >= 100 ? WHOLE.format(value) : SHORT.format(value)
}

/** @param share 0 to 1. A share that is not nothing is never shown as nothing. */
export function formatShare(share) {
  if (share === null || share === undefined) return [NONE, '%']
  if (share > 0 && share < 0.0001) return ['< 0.01', '%']
  return [SHORT.format(share * 100), '%']
}

/** The last bound of the histogram stands for all that is longer. */
const LONGEST_MS = 60_000

export function formatMs(ms) {
  if (ms === null || ms === undefined) return [NONE, 'ms']
  if (ms >= LONGEST_MS) return ['> 60', 's']
  return ms >= 1000 ? [SHORT.format(ms / 1000), 's'] : [SHORT.format(ms), 'ms']
}

/** A span of time by its two greatest units, where the second still matters. */
export function formatSpan(seconds) {
  const s = Math.max(0, Math.floor(seconds))
  const [days, hours, minutes] = [Math.floor(s / 86_400), Math.floor(s / 3600), Math.floor(s / 60)]
  if (days > 0) return `${formatCount(days)} d ${hours % 24} h`
  if (hours > 0) return `${hours} h ${minutes % 60} min`
  if (minutes >= 10) return `${minutes} min`
  if (minutes > 0) return `${minutes} min ${s % 60} s`
  return `${s} s`
}

export function formatBytes(bytes) {
  return `${formatNumber(bytes / 1_048_576)} MiB`
}

/** Hours, minutes and seconds. */
export function formatTime(ms) {
  return TIME.format(ms)
}

export function formatMinute(ms) {
  return MINUTE.format(ms)
}

/** The date too, where it is not today's. */
export function formatMoment(iso) {
  const date = new Date(iso)
  return (date.toDateString() === new Date().toDateString() ? TIME : MOMENT).format(date)
}

export function plural(count, noun) {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`
}

/** Where the times that are shown hold. */
export function timeZone() {
  return TIME.resolvedOptions().timeZone
}
