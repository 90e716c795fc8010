import { z } from 'zod'

/** A request that nobody sends, as the command `explain` describes it: what `POST /explain` asks about. */
export interface ExplainQuestion {
  /** As the command takes it: absolute, or only a path. */
  readonly url: string
  readonly method: string
  /** Lines such as `Origin: https://app.example.com`. */
  readonly headers: readonly string[]
  /** The client's `Cookie` header. Null where `token` is given, or no cookie is sent. */
  readonly cookie: string | null
  /** The access token alone. */
  readonly token: string | null
}

export type ExplainAnswer =
  /** Holds no secret. */
  | { readonly kind: 'explained'; readonly explanation: object }
  /** The question is wrong. */
  | { readonly kind: 'misunderstood'; readonly problem: string }
  /** Too many questions are waiting. */
  | { readonly kind: 'busy' }

const shape = z.strictObject({
  url: z.string(),
  method: z.string().default('GET'),
  headers: z.array(z.string()).default([]),
  cookie: z.string().nullable().default(null),
  token: z.string().nullable().default(null),
})

/** @returns null where the text is no question. What is wrong is not repeated, since it may be a token. */
export function parseQuestion(text: string): ExplainQuestion | null {
  try {
    return shape.safeParse(JSON.parse(text)).data ?? null
  } catch {
    return null
  }
}

export const QUESTION_EXPECTED =
  'expected JSON such as {"url": "https://app.example.com/api", "method": "POST", "headers": ["Origin: https://app.example.com"], "token": "…"}; "cookie" in place of "token" is a whole Cookie header, and all but "url" may be left out'
