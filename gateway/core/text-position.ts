/** Counted from 1. Columns count UTF-16 code units, as editors do. */
export interface Position {
  readonly line: number
  readonly column: number
}

export const BEGINNING: Position = { line: 1, column: 1 }

/** The position of the character at an index in the text. */
export function positionAt(text: string, offset: number): Position {
  const lines = text.slice(0, offset).split(/\r\n|\r|\n/)
  return { line: lines.length, column: lines.at(-1)!.length + 1 }
}
