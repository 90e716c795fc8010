import { execFileSync } from 'node:child_process'

/** The children of a process, lowest id first. */
export function childrenOf(pid: number): number[] {
  try {
    const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' })
    return children
      .trim()
      .split(/\s+/)
      .filter(Boolean)
      .map(Number)
      .sort((a, b) => a - b)
  } catch {
    // ps ends with 1 where there are none.
    return []
  }
}

/** A process and its children. */
export function familyOf(pid: number): number[] {
  return [pid, ...childrenOf(pid)]
}

export function signalQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has gone already.
  }
}
