import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type NameRecord, type NameServer, startNameServer } from './name-server.ts'

/** A program's own `/etc/resolv.conf` and `/etc/hosts`, and a name server on port 53, which the first one names. */
export interface ResolverStage {
  readonly server: NameServer
  /** A program that runs Node with these files in the place of the system's. */
  readonly program: string
  /** Written in place; a program that runs sees it. */
  writeResolvConf(text: string): void
  writeHosts(text: string): void
}

export interface ResolverStageOptions {
  readonly records?: Readonly<Record<string, NameRecord>>
  /** Lines of `/etc/resolv.conf` behind the one that names the server. */
  readonly lines?: string
  readonly hosts?: string
}

/** @returns why programs cannot be given files of their own here; null where they can */
export function whyNoResolverStage(): string | null {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'it needs Linux and root'
  try {
    execFileSync('unshare', ['-m', 'mount', '--bind', '/etc/hosts', '/etc/hosts'], { stdio: 'pipe' })
    return null
  } catch (error) {
    return `unshare -m and mount --bind do not work: ${String(error)}`
  }
}

export async function startResolverStage(t: Test, options: ResolverStageOptions): Promise<ResolverStage> {
  // Of its own for each test process: several may run at once.
  const address = `127.53.${process.pid & 255}.${1 + Math.floor(Math.random() * 250)}`
  const server = await startNameServer(options.records, { address, port: 53 })
  const folder = mkdtempSync(join(tmpdir(), 'resolver-'))
  t.teardown(() => {
    server.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const [resolvConf, hosts, program] = ['resolv.conf', 'hosts', 'program'].map((name) =>
    join(folder, name),
  ) as [string, string, string]
  writeFileSync(resolvConf, `nameserver ${address}\n${options.lines ?? ''}`)
  writeFileSync(hosts, options.hosts ?? '127.0.0.1 localhost\n')
  const mounts = `mount --bind '${resolvConf}' /etc/resolv.conf && mount --bind '${hosts}' /etc/hosts`
  const inside = `${mounts} && exec "$@"`
  writeFileSync(
    program,
    `#!/bin/sh\nexec unshare -m sh -c '${inside.replaceAll("'", `'\\''`)}' sh '${process.execPath}' "$@"\n`,
  )
  chmodSync(program, 0o755)
  return {
    server,
    program,
    writeResolvConf: (text) => writeFileSync(resolvConf, text),
    writeHosts: (text) => writeFileSync(hosts, text),
  }
}
