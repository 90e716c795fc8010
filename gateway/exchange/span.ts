import type { AuthDecision } from '../auth/authenticator.ts'
import type { UpstreamTrace } from '../http/headers.ts'

/** The spans of one exchange. Times are milliseconds of the process's monotonic clock. */
export interface ExchangeSpan {
  /** What the attempt under way sends upstream: its span is the parent of what the upstream does. */
  readonly upstream: UpstreamTrace
  /** The token was looked up, or refused before that. */
  tokenDecided(decision: AuthDecision, startedAt: number): void
  /** An attempt at a target begins. @param path path and query as they go upstream */
  attemptBegan(target: string, path: string): void
  /** The attempt is over. */
  attemptEnded(outcome: AttemptResult): void
  /** @param status what the client got; 499 where nothing */
  end(status: number): void
}

/** The outcome of one attempt, as far as its span records it. */
export type AttemptResult =
  | { readonly kind: 'answered'; readonly status: number }
  | { readonly kind: 'failed'; readonly code: string }
  | { readonly kind: 'closed' | 'client-gone' | 'body-too-large' | 'unsendable' | 'unplaced' }
