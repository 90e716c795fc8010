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
