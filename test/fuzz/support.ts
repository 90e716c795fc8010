import fc from 'fast-check'

/** Cases of a run; `npm run fuzz` asks for many more. */
export const FUZZ_RUNS = Number(process.env.FUZZ_RUNS ?? 500)

/** Different in each run. A failure prints it, and FUZZ_SEED repeats the run. */
export const FUZZ_SEED = Number(process.env.FUZZ_SEED ?? Math.floor(Math.random() * 0x7fffffff))

interface Teller {
  comment(text: string): void
  pass(text: string): unknown
}

/**
 * Runs a property for the number of cases and prints the seed first. A failing case is printed as it was found.
 *
 * @param part distinguishes the runs of one file
 */
export async function check<T>(
  t: Teller,
  property: fc.IAsyncProperty<T> | fc.IProperty<T>,
  numRuns: number,
  part = 0,
): Promise<void> {
  t.comment(`FUZZ_SEED=${FUZZ_SEED} runs=${numRuns}`)
  await fc.assert(property as fc.IAsyncProperty<T>, {
    numRuns,
    seed: FUZZ_SEED + part,
    endOnFailure: true,
    includeErrorInReport: true,
  })
  t.pass(`${numRuns} cases`)
}

/** Many cases that are run at once. Which of them failed, and how, is for the error to say. */
export function batch<T>(one: fc.Arbitrary<T>, size: number): fc.Arbitrary<readonly T[]> {
  return fc.array(one, { minLength: size, maxLength: size }).map((all) => {
    return Object.defineProperty(all, fc.toStringMethod, { value: () => `${size} at once` })
  })
}

/** Bytes of requests as Node takes them. */
export interface NodeRequests {
  readonly pieces: readonly Buffer[]
  /** Whether what was read of both is the same, but for what was changed. */
  isSame(ours: string, theirs: string): boolean
}

/** Of a query Node takes no bytes above ASCII, which pass here: it gets others in their place. */
export function requestsForNode(pieces: readonly Buffer[]): NodeRequests {
  const text = Buffer.concat(pieces).toString('latin1')
  const plain = text.replace(QUERY, asPlain)
  if (plain === text) return { pieces, isSame: (ours, theirs) => ours === theirs }
  const bytes = Buffer.from(plain, 'latin1')
  let at = 0
  return {
    pieces: pieces.map(({ length }) => {
      at += length
      return bytes.subarray(at - length, at)
    }),
    // What looks like a request may be a part of a body or a field.
    isSame: (ours, theirs) => asPlain(ours) === asPlain(theirs),
  }
}

const QUERY = /(?<=[A-Z] [^ ?\r\n]*\?)[^ \r\n]*(?= HTTP\/)/g
const asPlain = (text: string) => text.replace(/[\x80-\xff]/g, 'x')
