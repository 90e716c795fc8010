import { type BigIntStats, statSync } from 'node:fs'
import { stat } from 'node:fs/promises'

/**
 * Tells versions of a file apart without reading it.
 *
 * @returns a text that differs after a write, after a rename onto the path, and after a symbolic link on the way to it
 *   was swapped (as Kubernetes does with mounted files); `missing` where nothing can be found
 */
export async function fileMark(path: string): Promise<string> {
  try {
    return describeVersion(await stat(path, { bigint: true }))
  } catch {
    return MISSING
  }
}

/** The same, in the calling thread: for what must not wait for libuv's thread pool. */
export function fileMarkSync(path: string): string {
  try {
    return describeVersion(statSync(path, { bigint: true }))
  } catch {
    return MISSING
  }
}

const MISSING = 'missing'

function describeVersion({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`
}
