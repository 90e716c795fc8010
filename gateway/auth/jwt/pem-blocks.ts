export interface PemBlock {
  /** `PUBLIC KEY` of `-----BEGIN PUBLIC KEY-----`. */
  readonly label: string
  /** The number of its first line, from 1. */
  readonly line: number
  /** Null where its last line is missing. */
  readonly text: string | null
}

const BEGIN = /^-----BEGIN ([A-Z0-9 ]+)-----$/

/** All blocks of a PEM file (RFC 7468). Text between them, as openssl prints it, is ignored. */
export function splitPem(text: string): PemBlock[] {
  const blocks: PemBlock[] = []
  let open: { readonly label: string; readonly line: number; readonly lines: string[] } | null = null
  for (const [index, raw] of text.split(/\r\n|\n|\r/).entries()) {
    const line = raw.trim()
    const label = BEGIN.exec(line)?.[1]
    if (label !== undefined) {
      if (open !== null) blocks.push({ label: open.label, line: open.line, text: null })
      open = { label, line: index + 1, lines: [line] }
    } else if (open !== null) {
      open.lines.push(line)
      if (line !== `-----END ${open.label}-----`) continue
      blocks.push({ label: open.label, line: open.line, text: `${open.lines.join('\n')}\n` })
      open = null
    }
  }
  if (open !== null) blocks.push({ label: open.label, line: open.line, text: null })
  return blocks
}
