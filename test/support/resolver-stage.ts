import { execFileSync, spawn } from 'node:child_process'
import { Resolver } from 'node:dns/promises'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type NameRecord, type NameServer, startNameServer } from './name-server.ts'
import { programPath } from './programs.ts'

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
  /** True: the programs ask dnsmasq, which asks the name server, as behind most routers. */
  readonly behindDnsmasq?: boolean
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

/** @returns why there can be no dnsmasq before a stage's name server; null where there can */
export function whyNoDnsmasq(): string | null {
  return whyNoResolverStage() ?? (programPath('dnsmasq') === null ? 'it needs dnsmasq' : null)
}

export async function startResolverStage(t: Test, options: ResolverStageOptions): Promise<ResolverStage> {
  // Of its own for each test process: several may run at once.
  const address = `127.53.${process.pid & 255}.${1 + Math.floor(Math.random() * 250)}`
  const server = await startNameServer(
    options.records,
    options.behindDnsmasq ? undefined : { address, port: 53 },
  )
  if (options.behindDnsmasq) await startDnsmasq(t, address, server)
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

/** It caches what it is told for as long as that may be used, like any other. */
async function startDnsmasq(t: Test, address: string, { server }: NameServer): Promise<void> {
  const options = [
    '--keep-in-foreground',
    '--conf-file=/dev/null',
    '--no-resolv',
    '--no-hosts',
    '--bind-interfaces',
    '--user=root',
    '--pid-file',
    `--listen-address=${address}`,
    `--server=${server.replace(':', '#')}`,
  ]
  const dnsmasq = spawn(programPath('dnsmasq')!, options, { stdio: 'ignore' })
  const gone = new Promise((resolve) => dnsmasq.once('exit', resolve))
  t.teardown(() => {
    dnsmasq.kill('SIGKILL')
    return gone
  })
  const resolver = new Resolver({ timeout: 200, tries: 100 })
  resolver.setServers([address])
  // What it answers does not matter.
  await resolver.resolve4('ready.test').catch(() => {})
}
