import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'

/** The user that a process runs as. */
export interface Account {
  readonly uid?: number
  readonly gid?: number
  /** Words before the command that let an unprivileged user enter folders that are closed to it. */
  readonly prefix: readonly string[]
}

const STOP_TIMEOUT_MS = 5_000

export function accountIds({ uid, gid }: Account): { uid?: number; gid?: number } {
  return uid === undefined || gid === undefined ? {} : { uid, gid }
}

export function runCommand(
  words: readonly string[],
  account: Account,
): Promise<{ code: number; output: string }> {
  const [command, ...args] = [...account.prefix, ...words]
  return new Promise((done) => {
    const child = spawn(command!, args, {
      ...accountIds(account),
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    })
    let output = ''
    child.stdout.on('data', (data) => {
      output += data
    })
    child.stderr.on('data', (data) => {
      output += data
    })
    child.once('error', (error) => done({ code: 127, output: error.message }))
    child.once('close', (code) => done({ code: code ?? 1, output }))
  })
}

export async function stopServer(pid: number): Promise<void> {
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    if (!sendSignal(pid, signal)) return
    const until = Date.now() + STOP_TIMEOUT_MS
    while (Date.now() < until) {
      if (!isAlive(pid)) return
      await delay(10)
    }
  }
}

function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal)
    return true
  } catch {
    return false
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

export async function readText(path: string): Promise<string | null> {
  return readFile(path, 'utf8').catch(() => null)
}
