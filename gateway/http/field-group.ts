/** What a writer of heads has to know of fields. */
export interface FieldFacts {
  /** The value of `Content-Length`; null where there is none. */
  readonly contentLength: string | null
  readonly repeatsContentLength: boolean
  readonly hasDate: boolean
}

/** Fields that are sent again and again. What writing them takes is done once and kept with them. */
export class FieldGroup {
  /** Flat name, value pairs. */
  readonly fields: readonly string[]
  /** Their lines as the writer of heads has checked and joined them; null until then. */
  lines: string | null = null
  #facts: FieldFacts | null = null

  constructor(fields: readonly string[]) {
    this.fields = fields
  }

  get facts(): FieldFacts {
    this.#facts ??= readFacts(this.fields)
    return this.#facts
  }
}

function readFacts(fields: readonly string[]): FieldFacts {
  let contentLength: string | null = null
  let repeatsContentLength = false
  let hasDate = false
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase()
    if (name === 'date') hasDate = true
    else if (name === 'content-length') {
      repeatsContentLength = contentLength !== null
      contentLength ??= fields[i + 1]!
    }
  }
  return { contentLength, repeatsContentLength, hasDate }
}
