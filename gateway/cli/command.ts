/** Describes a command for its help and for reading its arguments, without loading its code. */
export interface Command {
  /** As it is typed, such as `token issue`. */
  readonly name: string
  /** What follows the name in the usage line. */
  readonly usage: string
  /** One line. */
  readonly summary: string
  /** What a first-time user has to know, in lines of at most 78 characters. */
  readonly about: string
  readonly options: readonly Option[]
  /** The argument that is not an option; absent where the command takes none. */
  readonly positional?: {
    readonly name: string
    /** True where it may be several words: `help token issue` names one command. */
    readonly manyWords?: boolean
  }
  readonly examples: readonly Example[]
  /** Meanings by exit code. */
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
