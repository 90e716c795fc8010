import fc from 'fast-check'

/** Cases of a run; `npm run fuzz` asks for many more. */
export const FUZZ_RUNS = Number(process.env.FUZZ_RUNS ?? 500)

/** Another one at each run; a failure tells it, and FUZZ_SEED brings it back. */
export const FUZZ_SEED = Number(process.env.FUZZ_SEED ?? Math.floor(Math.random() * 0x7fffffff))

/** Runs a property so many times, telling the seed first. The failing case is told as it was found. */
export async function check<T>(
  t: { comment(text: string): void },
  property: fc.IAsyncProperty<T> | fc.IProperty<T>,
  numRuns: number,
): Promise<void> {
  t.comment(`FUZZ_SEED=${FUZZ_SEED} runs=${numRuns}`)
  await fc.assert(property as fc.IAsyncProperty<T>, { numRuns, seed: FUZZ_SEED, endOnFailure: true })
}
