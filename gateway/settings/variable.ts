import { integer, onOff, type Parser } from './parsers.ts'

/** One environment variable: how it is parsed, and its texts for the documents. */
export interface Variable<T, D = T> {
  readonly name: string
  readonly parse: Parser<T>
  /** The value if the variable is not set, or empty. */
  readonly byDefault: D
  /** One or two plain sentences. */
  readonly description: string
  /** The accepted values, in the words of the problem that another value causes. */
  readonly accepts: string
  readonly unit?: Unit
  /** The default in words, if the value itself would not be clear. */
  readonly defaultShown?: string
  /** An accepted value. */
  readonly example?: string
  /** True if a problem must not repeat the value. */
  readonly secret?: boolean
  /** `path`: names a file that has to be readable. `or`: may come from the file that NAME_FILE names. */
  readonly file?: 'path' | 'or'
}

export type Unit = 'ms' | 's' | 'µs' | 'bytes'

export interface Group<V extends Variables> {
  readonly title: string
  readonly about: string
  readonly variables: V
}

/** By their keys in `Settings`. */
export type Variables = Readonly<Record<string, Variable<unknown>>>

/** The type of the value of a variable. */
export type ValueOf<V> = V extends Variable<infer T, infer D> ? T | D : never

const DAY_MS = 86_400_000

export function group<V extends Variables>(title: string, about: string, variables: V): Group<V> {
  return { title, about, variables }
}

export function variable<T>(of: Variable<T, NoInfer<T>>): Variable<T> {
  return of
}

/** Null where it is not set. */
export function optional<T>(of: Omit<Variable<T>, 'byDefault'>): Variable<T, null> {
  return { ...of, byDefault: null }
}

type Described = Pick<Variable<number>, 'description' | 'unit' | 'defaultShown' | 'example'>

/** A whole number. */
export function count(
  name: string,
  byDefault: number,
  [min, max]: readonly [number, number],
  described: string | Described,
): Variable<number> {
  return {
    name,
    byDefault,
    parse: integer(min, max),
    accepts: `a whole number from ${min} to ${max}`,
    ...(typeof described === 'string' ? { description: described } : described),
  }
}

/** Milliseconds, at most a day. */
export function milliseconds(
  name: string,
  byDefault: number,
  [min, max = DAY_MS]: readonly [number, number?],
  description: string,
): Variable<number> {
  return count(name, byDefault, [min, max], { description, unit: 'ms' })
}

/** A switch: `on` or `off`. */
export function onOrOff(name: string, byDefault: boolean, description: string): Variable<boolean> {
  return {
    name,
    byDefault,
    parse: onOff,
    defaultShown: byDefault ? 'on' : 'off',
    accepts: '`on` or `off`',
    example: byDefault ? 'off' : 'on',
    description,
  }
}
