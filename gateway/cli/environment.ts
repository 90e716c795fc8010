import type { Writable } from 'node:stream'

/** What a command gets from the process; only main.ts knows the process itself. */
export interface Environment {
  readonly env: Readonly<Record<string, string | undefined>>
  /** The working folder. */
  readonly cwd: string
  readonly stdin: AsyncIterable<Uint8Array | string>
  readonly stdout: Writable & { readonly fd?: number }
  readonly stderr: { write(text: string): unknown }
}
