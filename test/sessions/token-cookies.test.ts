import t from 'tap'
import { createTokenCookies } from '../../gateway/sessions/token-cookies.ts'

const NAMES = { access: 'auth_token', refresh: 'refresh_token' }
const DEFAULTS = { sameSite: 'strict', domain: null, persistent: false } as const

function cookies(
  attributes: Partial<Parameters<typeof createTokenCookies>[0]['attributes']> = {},
  names = NAMES,
) {
  const made = createTokenCookies({
    names,
    attributes: { ...DEFAULTS, ...attributes },
    accessTtlS: 900,
    refreshTtlS: 604_800,
  })
  const values = (fields: readonly string[]) => fields.filter((_, i) => i % 2 === 1)
  return {
    set: (scheme: string) => values(made.set({ access: 'a', refresh: 'r' }, scheme)),
    clear: (scheme: string) => values(made.clear(scheme)),
  }
}

t.test('by default the cookies are for one host and until the browser is closed', async (t) => {
  t.same(cookies().set('http'), [
    'auth_token=a; Path=/; HttpOnly; SameSite=Strict',
    'refresh_token=r; Path=/; HttpOnly; SameSite=Strict',
  ])
  t.same(cookies().clear('http'), [
    'auth_token=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0',
    'refresh_token=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0',
  ])
})

t.test('persistent cookies last as long as their tokens', async (t) => {
  const persistent = cookies({ sameSite: 'lax', persistent: true })
  t.same(persistent.set('https'), [
    'auth_token=a; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=900',
    'refresh_token=r; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=604800',
  ])
})

t.test('cookies of a domain are set and removed for the domain', async (t) => {
  const wide = cookies({ domain: 'example.com' })
  t.match(
    wide.set('https'),
    Array(2).fill(/; Path=\/; HttpOnly; SameSite=Strict; Secure; Domain=example\.com$/),
  )
  t.match(wide.clear('https'), Array(2).fill(/; Secure; Domain=example\.com; Max-Age=0$/))
})

t.test('SameSite=None and names that need it are Secure whatever the client speaks', async (t) => {
  t.match(cookies({ sameSite: 'none' }).set('http'), Array(2).fill(/; SameSite=None; Secure$/))
  const names = { access: '__Host-auth', refresh: '__secure-refresh' }
  t.match(cookies({}, names).set('http'), Array(2).fill(/; SameSite=Strict; Secure$/))
  t.match(cookies({}, names).clear('http'), Array(2).fill(/; SameSite=Strict; Secure; Max-Age=0$/))
  t.notMatch(cookies({}, { ...NAMES, access: 'x__Host-auth' }).set('http'), Array(2).fill(/Secure/))
})
