import type { CertificateStatus, Problem } from './status.ts'
import type { Symptoms } from './symptoms.ts'

const DAY_MS = 86_400_000
/** Certificates are renewed well before this. */
const ENDS_SOON_MS = 14 * DAY_MS

/** Files that cannot be used, and certificates that have ended or will. */
export function fileProblems(symptoms: Symptoms): Problem[] {
  return [
    ...symptoms.certificates.flatMap((certificate) => certificateProblems(certificate, symptoms.now)),
    ...keyProblems(symptoms),
    ...routingProblems(symptoms),
    ...pageProblems(symptoms),
  ]
}

function certificateProblems({ file, beginsAt, endsAt, reason }: CertificateStatus, now: number): Problem[] {
  const problems: Problem[] = []
  const leftMs = endsAt === null ? Number.POSITIVE_INFINITY : Date.parse(endsAt) - now
  if (endsAt !== null && leftMs <= 0) {
    problems.push({
      severity: 'red',
      what: `The certificate ${file} has expired`,
      detail: `It ended on ${dateInWords(endsAt)}, and clients refuse it`,
      section: 'GatewayCertificateExpired',
    })
  } else if (beginsAt !== null && Date.parse(beginsAt) > now) {
    problems.push({
      severity: 'red',
      what: `The certificate ${file} is not valid yet`,
      detail: `It begins on ${dateInWords(beginsAt)}, and clients refuse it until then`,
      section: 'GatewayCertificateExpired',
    })
  } else if (endsAt !== null && leftMs < ENDS_SOON_MS) {
    problems.push({
      severity: 'amber',
      what: `The certificate ${file} ends ${inDays(leftMs)}`,
      detail: `on ${dateInWords(endsAt)}; clients refuse it then`,
      section: 'GatewayCertificateExpiring',
    })
  }
  if (reason !== null) {
    const stays =
      endsAt === null ? 'It is not used' : `The one before stays in force, until ${dateInWords(endsAt)}`
    problems.push({
      severity: 'amber',
      what: `The new certificate ${file} cannot be used`,
      detail: `${stays}. ${reason}`,
      section: 'GatewayCertificateRefused',
    })
  }
  return problems
}

function keyProblems({ keys }: Symptoms): Problem[] {
  if (keys.state !== 'outdated') return []
  return [
    {
      severity: 'amber',
      what: 'The newest keys cannot be used',
      detail: `The ones before stay in force. ${keys.reason ?? ''}`.trim(),
      section: 'GatewayKeysNotLoaded',
    },
  ]
}

function routingProblems({ routing }: Symptoms): Problem[] {
  const [first] = routing?.problems ?? []
  if (first === undefined) return []
  const place = first.line === null ? '' : `Line ${first.line}, column ${first.column}: `
  return [
    {
      severity: 'amber',
      what: 'The routing file was refused',
      detail: `The one before stays in force. ${place}${first.message}`,
      section: 'GatewayConfigReloadFailed',
    },
  ]
}

function pageProblems({ errorPages: [first] }: Symptoms): Problem[] {
  if (first === undefined) return []
  return [
    {
      severity: 'amber',
      what: 'The error pages were refused',
      // What is wrong with a page has a line and a column, but no pointer as a routing file's problem has.
      detail: `The ones before stay in force. ${first.replace(': : ', ': ')}`,
      section: 'GatewayErrorPagesRefused',
    },
  ]
}

/** As `3 December 2026, 10:15 UTC`. */
function dateInWords(iso: string): string {
  const date = new Date(iso)
  const day = date.toLocaleDateString('en-GB', {
    day: 'numeric',
    month: 'long',
    year: 'numeric',
    timeZone: 'UTC',
  })
  return `${day}, ${iso.slice(11, 16)} UTC`
}

function inDays(ms: number): string {
  const days = Math.floor(ms / DAY_MS)
  if (days === 0) return 'today or tomorrow'
  return days === 1 ? 'in a day' : `in ${days} days`
}
