import { accessSync, constants } from 'node:fs'
import { type FileProblem, type Finding, locate } from './file-problems.ts'
import { parseJson } from './source-positions.ts'
import type { UpstreamsConfig } from './upstreams-schema.ts'

const TLS_FILES = ['caFile', 'certFile', 'keyFile'] as const

/**
 * The files that a good routing file names and that cannot be read.
 *
 * @param text what `config` was read from, for the positions
 */
export function unreadableFiles(config: UpstreamsConfig, text: string, file: string): FileProblem[] {
  const findings: Finding[] = []
  for (const [name, { tls }] of config.upstreams) {
    for (const key of TLS_FILES) {
      const path = tls?.[key]
      if (path === undefined) continue
      const reason = unreadable(path)
      if (reason !== null) {
        findings.push({
          path: ['upstreams', name, 'tls', key],
          found: `${path} (${reason})`,
          expected: 'a readable file',
        })
      }
    }
  }
  const json = parseJson(text)
  return json.kind === 'bad' ? [] : locate(file, findings, json.positions)
}

function unreadable(path: string): string | null {
  try {
    accessSync(path, constants.R_OK)
    return null
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
  }
}
