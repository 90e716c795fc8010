import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type CertificateStore, openCertificates } from '../../../gateway/server/tls/certificate-store.ts'
import { CertificateError } from '../../../gateway/server/tls/certificates.ts'
import { createAuthority } from '../../support/certificates.ts'
import { createFakeScheduler } from '../../support/fake-scheduler.ts'

const DAY_MS = 86_400_000
const authority = createAuthority(t, 'the edge authority')
const a = authority.issue('a.example.com', ['DNS:a.example.com', 'DNS:A2.example.com', 'IP:10.0.0.1'])
const b = authority.issue('b.example.com', ['DNS:b.example.com'])
const wild = authority.issue('wild', ['DNS:*.example.com'])
const other = authority.issue('other', ['DNS:other.example.com'])
const brief = authority.issue('brief', ['DNS:brief.example.com'], 1)

interface Opened {
  readonly store: CertificateStore
  readonly lines: string[]
  /** The name of the certificate that a host gets. */
  serves(host: string): string
  /** Lets the watch look at the folder once more. */
  look(): Promise<void>
  changes: number
  now: number
}

function open(
  folder: string | null,
  pair: { certFile: string; keyFile: string } | null = null,
  now = Date.now(),
): Opened {
  const scheduler = createFakeScheduler()
  const lines: string[] = []
  const log = (level: string) => (fields: object, message: string) => {
    const { err } = fields as { err?: Error }
    lines.push(`${level}: ${message}${err === undefined ? '' : `: ${err.message}`}`)
  }
  const times = { changes: 0, now }
  const store = openCertificates({
    source: { pair, folder },
    scheduler,
    wallClock: () => times.now,
    onChange() {
      times.changes++
    },
    log: { info: log('info'), warn: log('warn'), error: log('error') },
  })
  return Object.assign(times, {
    lines,
    store,
    serves(host: string) {
      const context = store.contextFor(host)
      return store.all.find((each) => each.context === context)!.names[0]!
    },
    look: () => scheduler.advance(1000),
  })
}

type Made = Readonly<Record<'certFile' | 'keyFile', string>>

/** Writes a pair as `NAME.crt` and `NAME.key`. */
function put(folder: string, name: string, made: Made): void {
  copyFileSync(made.keyFile, join(folder, `${name}.key`))
  copyFileSync(made.certFile, join(folder, `${name}.crt`))
}

function folderOf(t: Test, pairs: Readonly<Record<string, Made>>): string {
  const folder = t.testdir()
  for (const [name, made] of Object.entries(pairs)) put(folder, name, made)
  return folder
}

t.test('a host gets the certificate with its exact name, then a wildcard, then the fallback', async (t) => {
  const opened = open(folderOf(t, { a, b, wild, default: other }))
  for (const [host, served] of [
    ['a.example.com', 'a.example.com'],
    ['A.Example.COM', 'a.example.com'],
    ['a2.example.com', 'a.example.com'],
    ['b.example.com', 'b.example.com'],
    ['c.example.com', '*.example.com'],
    ['x.c.example.com', 'other.example.com'],
    ['example.com', 'other.example.com'],
    ['10.0.0.1', 'other.example.com'],
    ['localhost', 'other.example.com'],
    ['__proto__', 'other.example.com'],
  ] as const) {
    t.equal(opened.serves(host), served, host)
  }
})

t.test('the fallback is TLS_CERT_FILE, else the pair "default", else the first by name', async (t) => {
  t.same(open(folderOf(t, { a, default: other }), b).store.fallback.names, ['b.example.com'])
  t.same(open(folderOf(t, { a, default: other })).store.fallback.names, ['other.example.com'])
  t.same(open(folderOf(t, { m: b, k: wild })).store.fallback.names, ['*.example.com'])
})

t.test('all usual file names of pairs are read', async (t) => {
  const folder = t.testdir({
    'both.pem': Buffer.concat([readFileSync(a.keyFile), readFileSync(a.certFile)]).toString(),
    'apart.pem': readFileSync(b.certFile),
    'apart.key': readFileSync(b.keyFile),
    'notes.txt': 'not a certificate',
    '.hidden.crt': 'not a certificate either',
    '..2026_01_01': { 'tls.crt': 'what Kubernetes links to' },
    certbot: {
      'fullchain.pem': readFileSync(wild.certFile),
      'privkey.pem': readFileSync(wild.keyFile),
      'chain.pem': readFileSync(authority.certFile),
      'cert.pem': 'a part of it',
    },
    kubernetes: { 'tls.crt': readFileSync(other.certFile), 'tls.key': readFileSync(other.keyFile) },
  })
  t.same(
    open(folder)
      .store.all.map(({ names }) => names[0])
      .sort(),
    ['*.example.com', 'a.example.com', 'b.example.com', 'other.example.com'],
  )
})

t.test('the start fails with all problems of the folder', async (t) => {
  const folder = folderOf(t, { a, b })
  copyFileSync(a.keyFile, join(folder, 'b.key'))
  rmSync(join(folder, 'a.key'))
  const error = t.throws(() => open(folder)) as CertificateError
  t.match(error.reasons, [
    /a\.key: cannot be read \(ENOENT\)/,
    /b\.crt and .*b\.key do not make a usable pair/,
  ])
  const empty = t.throws(() => open(t.testdir())) as CertificateError
  t.match(empty.reasons, [/holds no certificate; expected NAME\.crt and NAME\.key/])
  t.throws(() => open(join(folder, 'none')), CertificateError)
})

t.test('replaced, added and removed pairs take effect', async (t) => {
  const folder = folderOf(t, { a, default: other })
  const opened = open(folder)
  await opened.look()
  t.equal(opened.changes, 0)
  put(folder, 'wild', wild)
  await opened.look()
  t.equal(opened.serves('c.example.com'), '*.example.com')
  put(folder, 'a', b)
  await opened.look()
  t.equal(opened.serves('b.example.com'), 'b.example.com')
  t.equal(opened.serves('a.example.com'), '*.example.com')
  rmSync(join(folder, 'wild.crt'))
  await opened.look()
  t.equal(opened.serves('c.example.com'), '*.example.com', 'it may be about to be written anew')
  await opened.look()
  t.equal(opened.serves('c.example.com'), 'other.example.com')
  t.equal(opened.changes, 3)
})

t.test('a symlink that points elsewhere, as Kubernetes swaps them, is a replaced pair', async (t) => {
  const folder = t.testdir()
  for (const [name, made] of [
    ['..1', a],
    ['..2', b],
  ] as const) {
    mkdirSync(join(folder, name))
    put(join(folder, name), 'tls', made)
  }
  symlinkSync('..1', join(folder, '..data'))
  for (const name of ['tls.crt', 'tls.key']) symlinkSync(join('..data', name), join(folder, name))
  const opened = open(folder)
  t.equal(opened.serves('a.example.com'), 'a.example.com')
  symlinkSync('..2', join(folder, '..next'))
  renameSync(join(folder, '..next'), join(folder, '..data'))
  await opened.look()
  t.equal(opened.serves('b.example.com'), 'b.example.com')
})

for (const [what, spoil] of [
  ['a key of another certificate', (folder: string) => copyFileSync(b.keyFile, join(folder, 'a.key'))],
  ['broken PEM', (folder: string) => writeFileSync(join(folder, 'a.crt'), 'not a certificate')],
  [
    'a half-written file',
    (folder: string) => writeFileSync(join(folder, 'a.crt'), readFileSync(b.certFile).subarray(0, 300)),
  ],
  ['a missing key', (folder: string) => rmSync(join(folder, 'a.key'))],
] as const) {
  t.test(`${what} is logged once, keeps the old pair in force, and affects no other pair`, async (t) => {
    const folder = folderOf(t, { a, default: other })
    const opened = open(folder)
    opened.lines.length = 0
    spoil(folder)
    put(folder, 'wild', wild)
    await opened.look()
    t.same(
      opened.lines.filter((line) => line.startsWith('error')),
      [],
      'a swap of two files may be half done',
    )
    for (let n = 0; n < 3; n++) await opened.look()
    t.match(
      opened.lines.filter((line) => line.startsWith('error')),
      [/^error: the new certificate is not usable; the old one stays in force: .*a\.(crt|key)/],
    )
    t.equal(opened.serves('a.example.com'), 'a.example.com')
    t.equal(opened.serves('c.example.com'), '*.example.com')
    put(folder, 'a', b)
    await opened.look()
    t.equal(opened.serves('b.example.com'), 'b.example.com', 'a good one comes into force')
  })
}

t.test('an expired certificate does not replace a valid one', async (t) => {
  const folder = folderOf(t, { a })
  const opened = open(folder)
  opened.now += 1.5 * DAY_MS
  put(folder, 'a', brief)
  await opened.look()
  await opened.look()
  t.match(opened.lines.at(-1), /a\.crt: has ended; expected one that lasts longer than the old one/)
  t.equal(opened.serves('a.example.com'), 'a.example.com')
})

t.test('a certificate that is not valid yet replaces a valid one only when it begins', async (t) => {
  const folder = folderOf(t, { a })
  const opened = open(folder)
  opened.now -= 30 * DAY_MS
  put(folder, 'a', b)
  await opened.look()
  await opened.look()
  t.match(opened.lines.at(-1), /a\.crt: is not valid yet; expected one for now/)
  t.equal(opened.serves('a.example.com'), 'a.example.com')
  opened.now += 30 * DAY_MS
  await opened.look()
  t.equal(opened.serves('b.example.com'), 'b.example.com', 'it comes into force when it begins')
})

t.test('a certificate that expires soon is logged once a day', async (t) => {
  const opened = open(folderOf(t, { a }))
  const warnings = () => opened.lines.filter((line) => line.startsWith('warn')).length
  t.equal(warnings(), 1)
  await opened.look()
  t.equal(warnings(), 1)
  opened.now += DAY_MS
  await opened.look()
  t.equal(warnings(), 2)
})

t.test(
  'a certificate that has expired is an error in the log, at the start and when it expires',
  async (t) => {
    const opened = open(folderOf(t, { a }))
    t.match(opened.lines, [/^warn: the certificate expires soon/])
    opened.now += 3 * DAY_MS
    await opened.look()
    t.match(opened.lines[1], /^error: the certificate has expired, and clients refuse it/)
    await opened.look()
    t.equal(opened.lines.length, 2, 'once a day')
    t.match(open(folderOf(t, { a }), null, opened.now).lines, [/^error: the certificate has expired/])
  },
)

t.test('a certificate that is not valid yet at the start is an error in the log, until it is', async (t) => {
  const opened = open(folderOf(t, { a }), null, Date.now() - 3 * DAY_MS)
  t.match(opened.lines, [/^error: the certificate is not valid yet, and clients refuse it/])
  opened.now += 3 * DAY_MS
  await opened.look()
  t.match(opened.lines[1], /^warn: the certificate expires soon/)
})

t.test('files that cannot be used are known until they can, or are gone', async (t) => {
  const folder = folderOf(t, { a, default: other })
  const opened = open(folder)
  t.same(opened.store.faults, [])
  writeFileSync(join(folder, 'a.crt'), 'nonsense')
  put(folder, 'new', { certFile: a.certFile, keyFile: b.keyFile })
  await opened.look()
  t.same(opened.store.faults, [], 'they may be half written')
  await opened.look()
  t.match(opened.store.faults, [
    { name: 'a.crt', reason: /a\.crt and .*a\.key do not make a usable pair/ },
    { name: 'new.crt', reason: /new\.crt and/ },
  ])
  put(folder, 'a', b)
  rmSync(join(folder, 'new.crt'))
  await opened.look()
  t.same(opened.store.faults, [])
})

t.test('a bad file that is put back as it was is no fault any more', async (t) => {
  const folder = folderOf(t, { a, default: other })
  const opened = open(folder)
  renameSync(join(folder, 'a.crt'), join(folder, 'kept'))
  writeFileSync(join(folder, 'a.crt'), 'nonsense')
  await opened.look()
  await opened.look()
  t.equal(opened.store.faults.length, 1)
  renameSync(join(folder, 'kept'), join(folder, 'a.crt'))
  await opened.look()
  t.same(opened.store.faults, [])
})

t.test('a folder that becomes unreadable leaves all pairs in force', async (t) => {
  const folder = folderOf(t, { a, default: other })
  const opened = open(folder)
  renameSync(folder, `${folder}-away`)
  t.teardown(() => renameSync(`${folder}-away`, folder))
  await opened.look()
  await opened.look()
  t.equal(opened.serves('a.example.com'), 'a.example.com')
  t.equal(opened.lines.filter((line) => line.includes('the certificate folder cannot be read')).length, 1)
  t.match(opened.store.faults, [{ name: folder, reason: /cannot be read/ }])
})
