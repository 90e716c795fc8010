import { GatewayError } from '../../core/errors.ts'
import type { StoreFault } from '../../core/store-fault.ts'
import { CONNECTION_FAULT_CLASSES, CONNECTION_FAULTS } from './connection-faults.ts'
import type { FaultContext, FaultDescription } from './fault-description.ts'
import { SERVER_FAULT_CLASSES, SERVER_FAULTS } from './server-faults.ts'

const OTHER: FaultDescription = {
  kind: 'other',
  problem: 'the database could not be queried',
  remedy: "look at the database server's log",
}

/** Codes of the gateway itself. Their descriptions contain all that their messages do. */
const OWN_CODES = new Set([
  'DEADLINE',
  'BUSY',
  'STANDBY',
  'FENCED',
  'REPLACED',
  'CLOSED',
  'CHANGED',
  'TLS_UNAVAILABLE',
  'overloaded',
])

const CLASSES = [...CONNECTION_FAULT_CLASSES, ...SERVER_FAULT_CLASSES]

/** Codes of a server that may be running but whose answer is held up. */
const LATE = new Set(['DEADLINE', 'BUSY', '57014', '55P03'])

/** Describes a failed query. */
export function describeFault(error: unknown, context: FaultContext): StoreFault {
  const fault = innermostFault(error)
  const code = codeOf(fault)
  const detail = detailOf(fault, code)
  const found =
    CONNECTION_FAULTS.get(code) ??
    SERVER_FAULTS.get(code) ??
    CLASSES.find(([pattern]) => pattern.test(code))?.[1] ??
    OTHER
  const { kind, problem, remedy } = typeof found === 'function' ? found(detail, context) : found
  const place = detail === '' || OWN_CODES.has(code) ? code : `${code}: ${detail}`
  return { kind, code, cause: `${problem} (${place}); ${remedy}` }
}

/** The fault of a table that does not fit the mapping. @param problems as `checkCatalogue` names them */
export function mappingFault(problems: readonly string[]): StoreFault {
  return { kind: 'mapping', code: 'MAPPING', cause: problems.join('; ') }
}

/** Why tokens cannot be verified: a fault of the keys, and not of the database. */
export function describeKeyFault(error: unknown): StoreFault {
  const messages: string[] = []
  let next = error
  for (; next instanceof Error; next = next.cause) messages.push(next.message)
  const cause = `${tidy(messages.join(': '))}; look at the key file or JWT_JWKS_URL`
  return { kind: 'keys', code: error instanceof GatewayError ? error.code : 'UNKNOWN', cause }
}

/** True where the server may be running but its answer is held up. */
export function isLate({ code }: Pick<StoreFault, 'code'>): boolean {
  return LATE.has(code)
}

/** A GatewayError names what failed; its cause is the reason. */
function innermostFault(error: unknown): unknown {
  let fault = error
  while (fault instanceof GatewayError && fault.cause !== undefined) fault = fault.cause
  return fault
}

function codeOf(error: unknown): string {
  // A look-up that was never sent until its deadline has no cause.
  if (error instanceof GatewayError) return error.code === 'token_store_unavailable' ? 'DEADLINE' : error.code
  return error instanceof Error && 'code' in error ? String(error.code) : 'UNKNOWN'
}

/** The message of the server or of the operating system. */
function detailOf(error: unknown, code: string): string {
  if (!(error instanceof Error)) return tidy(String(error))
  const { cause } = error
  if (cause instanceof AggregateError && cause.errors[0] instanceof Error)
    return tidy(cause.errors[0].message)
  if (cause instanceof Error) return tidy(cause.message)
  const inner = /\(([\w-]+): (.*)\)$/s.exec(error.message)
  if (inner !== null) return tidy(inner[2]!)
  return error.name === 'DatabaseError' && error.message.includes(`(${code})`) ? '' : tidy(error.message)
}

const DETAIL_MAX = 300

/** Makes one line of whole milliseconds, without any URL. */
function tidy(text: string): string {
  return text
    .replace(/\b\w+:\/\/\S+/g, '…')
    .replace(/(\d+)\.\d+(?= ms\b)/g, '$1')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, DETAIL_MAX)
}
