import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { chown, open } from 'node:fs/promises'
import { signalQuietly } from '../support/process-family.ts'

/** The account of servers that do not run as root; none where this process is not root. */
export const ACCOUNT = accountOf()

function accountOf(): { readonly uid: number; readonly gid: number } | null {
  if (process.getuid?.() !== 0) return null
  const entry = /^(?:postgres|nobody):[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'))
  return { uid: Number(entry?.[1] ?? 65534), gid: Number(entry?.[2] ?? 65534) }
}

/** Gives a file or a folder to that account. */
export async function giveAway(path: string): Promise<void> {
  if (ACCOUNT !== null) await chown(path, ACCOUNT.uid, ACCOUNT.gid)
}

/** Starts a server, with its output in a file. */
export async function launch(command: readonly string[], log: string): Promise<ChildProcess> {
  const file = await open(log, 'a')
  try {
    const [program = '', ...args] = command
    const { PATH = '' } = process.env
    return spawn(program, args, {
      stdio: ['ignore', file.fd, file.fd],
      env: { PATH: `${PATH}:/usr/bin:/usr/sbin:/sbin`, LC_ALL: 'C.UTF-8' },
      ...ACCOUNT,
    })
  } finally {
    await file.close()
  }
}

/** A process and all below it. */
export function treeOf(pid: number): number[] {
  const parents = execFileSync('ps', ['-eo', 'pid=,ppid='], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number) as [number, number])
  const found = [pid]
  for (let n = 0; n < found.length; n++)
    for (const [child, parent] of parents) if (parent === found[n]) found.push(child)
  return found
}

export function signalTree(pid: number, signal: NodeJS.Signals): void {
  for (const each of treeOf(pid)) signalQuietly(each, signal)
}
