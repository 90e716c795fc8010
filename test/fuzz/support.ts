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

/** True for a target with bytes above ASCII in its query. */
export function hasRawQuery(target: string): boolean {
  return /\?.*[\x80-\xff]/.test(target)
}
