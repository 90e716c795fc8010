import { validateHeaderName, validateHeaderValue } from 'node:http'
import type { ExplainQuestion } from '../admin/explain-question.ts'
import type { ExplainedRequest } from './explained-request.ts'

export type ReadQuestion =
  | { readonly ok: true; readonly request: ExplainedRequest }
  /** Repeats no value that may be a secret. */
  | Misread

interface Misread {
  readonly ok: false
  readonly problem: string
}

/** The fields of a WebSocket handshake, which a `ws:` URL stands for. */
const HANDSHAKE = [
  'Connection',
  'Upgrade',
  'Upgrade',
  'websocket',
  'Sec-WebSocket-Version',
  '13',
  'Sec-WebSocket-Key',
  'AAAAAAAAAAAAAAAAAAAAAA==',
]

/** @param accessCookie name of the cookie that carries the token where this alone is given */
export function readQuestion(question: ExplainQuestion, accessCookie: string): ReadQuestion {
  const url = parseUrl(question.url)
  if (url === null)
    return misread(
      'URL cannot be read; expected http:, https:, ws: or wss:, or a path, in ASCII without spaces',
    )
  const method = question.method.toUpperCase()
  if (!/^[A-Z]+(?:-[A-Z]+)*$/.test(method))
    return misread(
      `method: found ${JSON.stringify(question.method.slice(0, 40))}; expected a method such as POST`,
    )
  const headers = url.isHandshake ? [...HANDSHAKE] : []
  for (const line of question.headers) {
    const header = parseHeader(line)
    if (!header.ok) return header
    headers.push(header.name, header.value)
  }
  if (question.cookie !== null && question.token !== null)
    return misread('cookie and token are both given; expected one of them')
  const cookie = cookieOf(question, accessCookie)
  if (cookie !== null && !isHeaderValue('Cookie', cookie)) return badValue('Cookie')
  const { scheme, host, target } = url
  const fields = cookie === null ? headers : [...headers, 'Cookie', cookie]
  return { ok: true, request: { scheme, host, target, method, headers: fields } }
}

function misread(problem: string): Misread {
  return { ok: false, problem }
}

function cookieOf({ cookie, token }: ExplainQuestion, accessCookie: string): string | null {
  if (cookie !== null) return cookie.replace(/^cookie:\s*/i, '')
  return token === null ? null : `${accessCookie}=${token}`
}

type RequestUrl = Pick<ExplainedRequest, 'scheme' | 'host' | 'target'> & { readonly isHandshake: boolean }

/** `URL` is not used, since it would remove the dot segments and escapes that have to be explained. */
function parseUrl(text: string): RequestUrl | null {
  if (text.startsWith('/')) return { scheme: 'http', host: 'localhost', target: text, isHandshake: false }
  const parts = /^(https?|wss?):\/\/([^/?#]+)([/?#].*)?$/is.exec(text)
  if (parts === null || /[^!-~]/.test(text)) return null
  const rest = (parts[3] ?? '/').replace(/#.*$/s, '')
  const scheme = parts[1]!.toLowerCase()
  return {
    scheme: /s$/.test(scheme) ? 'https' : 'http',
    host: parts[2]!,
    target: rest.startsWith('/') ? rest : `/${rest}`,
    isHandshake: scheme.startsWith('ws'),
  }
}

function parseHeader(line: string): { ok: true; name: string; value: string } | Misread {
  const parts = /^([^:\s]+):[ \t]*(.*)$/s.exec(line)
  if (parts === null) return misread('header: expected "Name: value"')
  const name = parts[1]!
  const value = parts[2]!.trim()
  if (/^host$/i.test(name)) return misread('header: Host cannot be given; it is taken from the URL')
  if (!isHeaderName(name))
    return misread(
      `header: found the name ${JSON.stringify(name.slice(0, 40))}; expected the name of a header`,
    )
  return isHeaderValue(name, value) ? { ok: true, name, value } : badValue(name)
}

/** The problem does not repeat the value, which may be a secret. */
function badValue(name: string): Misread {
  return misread(`the value of ${name} has a character that is not allowed in a header`)
}

function isHeaderName(name: string): boolean {
  try {
    validateHeaderName(name)
    return true
  } catch {
    return false
  }
}

function isHeaderValue(name: string, value: string): boolean {
  try {
    validateHeaderValue(name, value)
    return true
  } catch {
    return false
  }
}
