import fc from 'fast-check'
import t from 'tap'
import { createKeyRing } from '../../gateway/auth/jwt/keys.ts'
import { createTokenVerifier } from '../../gateway/auth/jwt/token-verifier.ts'
import { SILENT_LOG } from '../../gateway/core/log.ts'
import { systemScheduler } from '../../gateway/core/scheduler.ts'
import { inSeconds, signToken, TEST_SECRET } from '../support/tokens.ts'
import { check, FUZZ_RUNS } from './support.ts'

const keys = await createKeyRing(
  { kind: 'secret', secret: TEST_SECRET },
  {
    scheduler: systemScheduler,
    log: SILENT_LOG,
    fetchJson: async () => {
      throw new Error('nothing is fetched')
    },
    algorithms: null,
  },
)
const verifier = createTokenVerifier({
  keys,
  issuer: null,
  audience: null,
  clockToleranceS: 0,
  wallClock: Date.now,
  memoMax: 1000,
})
t.teardown(() => verifier.close())

const good = await signToken({ claims: { jti: 'the-good-one', exp: inSeconds(36_000), userId: 'alice' } })
const CHARS = [...'ABCXYZabcxyz0189-_.=+/ ;"%~\0\n\r\x7f\xff{}', '.', '..', '==', 'e30']

const mutation = fc.record({
  at: fc.nat(),
  remove: fc.nat({ max: 4 }),
  insert: fc.oneof(fc.constant(''), fc.constantFrom(...CHARS), fc.string({ maxLength: 5 })),
})

const mutated = fc.array(mutation, { minLength: 1, maxLength: 4 }).map((mutations) =>
  mutations.reduce((token, { at, remove, insert }) => {
    const from = at % (token.length + 1)
    return token.slice(0, from) + insert + token.slice(from + remove)
  }, good),
)

/** Whole parts replaced, dropped, swapped or repeated. */
const recombined = fc
  .array(
    fc.oneof(
      fc.constantFrom(...good.split('.'), '', 'e30', Buffer.from('{"alg":"none"}').toString('base64url')),
      fc.json().map((text) => Buffer.from(text).toString('base64url')),
    ),
    { minLength: 0, maxLength: 5 },
  )
  .map((parts) => parts.join('.'))

async function kindOf(token: string): Promise<string> {
  return (await verifier.verify(token, 'access')).kind
}

t.test('no mutation of a good token is admitted', async (t) => {
  t.equal(await kindOf(good), 'verified', 'the token itself is')
  const property = fc.asyncProperty(fc.oneof(mutated, recombined), async (token) => {
    if (token === good) return
    if ((await kindOf(token)) === 'verified') throw new Error(`admitted: ${JSON.stringify(token)}`)
  })
  await check(t, property, FUZZ_RUNS * 4)
  t.equal(await kindOf(good), 'verified', 'and still is after all that')
})
