export type Family = 4 | 6

export const FAMILIES: readonly Family[] = [6, 4]

/** An address in the form of `node:dns`. */
export interface Address {
  readonly address: string
  readonly family: Family
}

/** The result of looking up a name's addresses of one family. */
export type FamilyAnswer =
  | { readonly kind: 'addresses'; readonly addresses: readonly string[]; readonly ttlMs: number }
  /** `nameExists` is false where the name does not exist at all (NXDOMAIN). */
  | { readonly kind: 'none'; readonly nameExists: boolean }
  /** `silent` is true where no server answered, and false where one answered with an error. */
  | { readonly kind: 'failed'; readonly silent: boolean; readonly cause: Error }

/** Null for a family that has not been answered yet. */
export type Answers = Readonly<Record<Family, FamilyAnswer | null>>

/** The result of looking up a name. */
export type Resolution =
  | {
      readonly kind: 'found'
      readonly answers: Answers
      /** Where one answer was not waited for, resolves with both once it has come. Never rejects. */
      readonly late: Promise<Answers> | null
    }
  /** The name has no address in any of the search domains. */
  | { readonly kind: 'none' }
  | { readonly kind: 'failed'; readonly silent: boolean; readonly cause: Error }

/** Looks up the addresses of a name. Never rejects. */
export type Resolve = (name: string) => Promise<Resolution>

/**
 * With the codes that `node:dns` uses. `ENOTFOUND`: the name has no address. `EAI_AGAIN`: the look-up failed, so it is
 * not known whether the name has one.
 */
export class NameError extends Error {
  override readonly name = 'NameError'
  readonly code: 'ENOTFOUND' | 'EAI_AGAIN'
  readonly hostname: string

  constructor(code: 'ENOTFOUND' | 'EAI_AGAIN', hostname: string, options: { readonly cause?: Error } = {}) {
    const reason = options.cause === undefined ? '' : ` (${options.cause.message})`
    super(
      code === 'ENOTFOUND'
        ? `the name ${hostname} has no address`
        : `the name ${hostname} could not be resolved${reason}`,
      options,
    )
    this.code = code
    this.hostname = hostname
  }
}

/** The addresses of a name that are known by now. */
export interface FoundAddresses {
  /** At least one. */
  readonly addresses: readonly Address[]
  /**
   * Where others may be known in a moment, because a look-up is under way: resolves with all addresses then. Never
   * rejects. Null where nothing is worth waiting for.
   */
  readonly later: Promise<readonly Address[]> | null
}

/** @param host a name, or an address without brackets. @throws NameError where no address is known */
export type FindAddresses = (host: string) => Promise<FoundAddresses>
