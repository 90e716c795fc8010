/** One request of a history: when it began, and whether the backend got it. */
export interface RequestEvent {
  readonly tokenId: string
  /** Milliseconds of one clock that all events share. */
  readonly began: number
  readonly forwarded: boolean
}

/** One revocation of a history: when the database had confirmed it. */
export interface RevocationEvent {
  readonly tokenId: string
  readonly returned: number
}

/** Something is always under way, and the machine has time left for the gateways. */
const CLIENT_PAUSE_MS = 5

/**
 * The promise of the product: no request that began after a revocation of its token had returned is forwarded.
 *
 * @returns the requests that break it
 */
export function violations(
  requests: readonly RequestEvent[],
  revocations: readonly RevocationEvent[],
): RequestEvent[] {
  const revokedAt = new Map<string, number>()
  for (const { tokenId, returned } of revocations) {
    revokedAt.set(tokenId, Math.min(returned, revokedAt.get(tokenId) ?? Number.POSITIVE_INFINITY))
  }
  return requests.filter(
    ({ tokenId, began, forwarded }) =>
      forwarded && began > (revokedAt.get(tokenId) ?? Number.POSITIVE_INFINITY),
  )
}

/** A request whose fate is known once everything has come to rest: it carries a mark that the backend notes. */
export interface MarkedRequest {
  readonly tokenId: string
  readonly began: number
  readonly mark: string
}

export interface HistoryParts {
  /** Tokens that are revoked one by one; each is asked for all the time. */
  readonly tokenIds: readonly string[]
  readonly clients: number
  /** One request with this token, of the nth turn. @returns its mark; resolves whatever the answer is */
  readonly send: (turn: number, tokenId: string) => Promise<string>
  /** Resolves once the database has confirmed it. */
  readonly revoke: (tokenId: string) => Promise<unknown>
  /** Called with the means to revoke so many more of the tokens; the history ends with it. */
  readonly during: (revokeSome: (count: number) => Promise<void>) => Promise<void>
}

export interface History {
  readonly requests: readonly MarkedRequest[]
  readonly revocations: readonly RevocationEvent[]
}

/** Clients ask all the time while tokens are revoked. Each is asked for at once when it has gone, by several. */
export async function recordHistory(parts: HistoryParts): Promise<History> {
  const { tokenIds, clients, send, revoke, during } = parts
  const requests: MarkedRequest[] = []
  const revocations: RevocationEvent[] = []
  let running = true
  let revoked = 0

  async function ask(turn: number, tokenId: string): Promise<void> {
    const began = performance.now()
    requests.push({ tokenId, began, mark: await send(turn, tokenId) })
  }

  async function revokeSome(count: number): Promise<void> {
    const end = Math.min(revoked + count, tokenIds.length)
    while (revoked < end) {
      const tokenId = tokenIds[revoked++]!
      await revoke(tokenId)
      revocations.push({ tokenId, returned: performance.now() })
      // The moment that a cache, or a look-up under way, would be wrong in.
      await Promise.all([0, 1, 2, 3].map((turn) => ask(turn, tokenId)))
    }
  }

  const asking = Array.from({ length: clients }, async (_, client) => {
    for (let turn = client; running; turn++) {
      await ask(turn, tokenIds[(turn * 7) % tokenIds.length]!)
      await new Promise((resolve) => setTimeout(resolve, CLIENT_PAUSE_MS))
    }
  })
  try {
    await during(revokeSome)
  } finally {
    running = false
    await Promise.all(asking)
  }
  return { requests, revocations }
}

/** A late arrival counts, too: an instance that was frozen may forward what its client has given up. */
export function brokenPromises(
  requests: readonly MarkedRequest[],
  arrived: ReadonlySet<string>,
  revocations: readonly RevocationEvent[],
): RequestEvent[] {
  return violations(
    requests.map(({ tokenId, began, mark }) => ({ tokenId, began, forwarded: arrived.has(mark) })),
    revocations,
  )
}
