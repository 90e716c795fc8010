/** What the command line knows of a command without loading it: for help and for reading arguments. */
export interface Command {
  /** As it is typed, such as `token issue`. */
  readonly name: string
  /** Behind the name, as the usage line shows it. */
  readonly usage: string
  /** One line. */
  readonly summary: string
  /** What somebody who uses it for the first time has to know; lines of at most 78 characters. */
  readonly about: string
  readonly options: readonly Option[]
  /** The argument that is not an option; absent where the command takes none. */
  readonly positional?: {
    readonly name: string
    /** True where it may be several words: `help token issue` names one command. */
    readonly manyWords?: boolean
  }
  readonly examples: readonly Example[]
  /** By code. */
  readonly exits: Readonly<Record<number, string>>
}

export interface Option {
  /** Without dashes. */
  readonly name: string
  /** Placeholder of its value; absent where the option takes none. */
  readonly value?: string
  readonly description: string
  readonly repeatable?: boolean
}

export interface Example {
  readonly line: string
  readonly meaning: string
}
