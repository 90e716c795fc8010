export type Family = 4 | 6

export const FAMILIES: readonly Family[] = [6, 4]

/** An address as `node:dns` gives it. */
export interface Address {
  readonly address: string
  readonly family: Family
}

/** What is known of a name's addresses of one family. */
export type FamilyAnswer =
  | { readonly kind: 'addresses'; readonly addresses: readonly string[]; readonly ttlMs: number }
  /** `nameExists` is false where the name does not exist at all (NXDOMAIN). */
  | { readonly kind: 'none'; readonly nameExists: boolean }
  /** `silent` where nobody answered; otherwise a server answered that it cannot say. */
  | { readonly kind: 'failed'; readonly silent: boolean; readonly cause: Error }

/** Null for a family whose answer is not there yet. */
export type Answers = Readonly<Record<Family, FamilyAnswer | null>>

/** What came of asking for a name. */
export type Resolution =
  | {
      readonly kind: 'found'
      readonly answers: Answers
      /** Resolves with both answers where one of them was not waited for; never rejects. */
      readonly late: Promise<Answers> | null
    }
  /** The name has no address, in none of the domains that are searched. */
  | { readonly kind: 'none' }
  | { readonly kind: 'failed'; readonly silent: boolean; readonly cause: Error }

/** Asks for the addresses of a name. Never rejects. */
export type Resolve = (name: string) => Promise<Resolution>

/** `ENOTFOUND`: the name has no address. `EAI_AGAIN`: it is not known whether it has one. Node's own codes for both. */
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
