import { evaluate, type MemberNode, type ObjectNode, parse, type ValueNode } from '@humanwhocodes/momoa'
import { type Position, positionAt } from '../../core/text-position.ts'
import { findSyntaxProblem, type SyntaxProblem } from './json-syntax.ts'

/** Names of members and indexes of elements, from the outermost to the innermost. */
export type JsonPath = readonly (string | number)[]

/** The positions of keys and values in a JSON text. */
export interface SourcePositions {
  /** The position of the value at `path`; where there is none, that of the innermost value around it that exists. */
  ofValue(path: JsonPath): Position
  /** The position of the last key in `path`; for an element of an array, that of its value. */
  ofKey(path: JsonPath): Position
  /** The text of the value at `path`; empty where there is none. */
  textOf(path: JsonPath): string
}

/** A key that an object has more than once. */
export interface Duplicate {
  readonly path: JsonPath
  /** The position of the second key. */
  readonly position: Position
  readonly first: Position
  /** How many of it follow the second one. */
  readonly more: number
}

export type ParsedJson =
  | {
      readonly kind: 'ok'
      /** With null as the value of each key that occurs twice. */
      readonly value: unknown
      readonly positions: SourcePositions
      /** Keys that occur twice in an object. Parsers differ in which of them counts (RFC 8259, section 4). */
      readonly duplicates: readonly Duplicate[]
    }
  | { readonly kind: 'bad'; readonly problem: SyntaxProblem & Position }

/** Parses strict JSON (RFC 8259): no comments, no trailing commas, no byte order mark. */
export function parseJson(text: string): ParsedJson {
  const problem = findSyntaxProblem(text)
  if (problem !== null) return { kind: 'bad', problem: { ...problem, ...positionAt(text, problem.offset) } }
  const { body } = parse(text, { mode: 'json' })
  const duplicates: Duplicate[] = []
  collectDuplicates(body, [], duplicates)
  const value = evaluate(body)
  for (const { path } of duplicates) blank(value, path)
  return { kind: 'ok', value, positions: createPositions(text, body), duplicates }
}

/** Sets a value to null. Does nothing where an object around it was set to null before. */
function blank(root: unknown, path: JsonPath): void {
  let object = root
  for (const step of path.slice(0, -1)) object = (object as Record<string, unknown> | null)?.[step]
  if (typeof object !== 'object' || object === null) return
  // An assignment to `__proto__` would set no member.
  Object.defineProperty(object, path.at(-1)!, { value: null, enumerable: true })
}

function createPositions(text: string, root: ValueNode): SourcePositions {
  const memberOf = createIndex()
  const nodeAt = (path: JsonPath) => follow(root, path, memberOf)
  return {
    ofValue: (path) => start(nodeAt(path).node),
    ofKey(path) {
      const { node, member } = nodeAt(path)
      return start(member?.name ?? node)
    },
    textOf(path) {
      const { node, depth } = nodeAt(path)
      return depth === path.length ? text.slice(node.loc.start.offset, node.loc.end.offset) : ''
    },
  }
}

/**
 * Finds the last member with a name in an object. Uses an index, so that the time for many problems in a large object
 * does not grow with the product of their numbers.
 */
function createIndex(): (object: ObjectNode, name: unknown) => MemberNode | undefined {
  const indexes = new Map<ObjectNode, ReadonlyMap<unknown, MemberNode>>()
  return (object, name) => {
    let index = indexes.get(object)
    if (index === undefined) {
      index = new Map(object.members.map((member) => [nameOf(member), member]))
      indexes.set(object, index)
    }
    return index.get(name)
  }
}

/** Follows `path` as far as it goes. */
function follow(
  root: ValueNode,
  path: JsonPath,
  memberOf: ReturnType<typeof createIndex>,
): { node: ValueNode; member: MemberNode | null; depth: number } {
  let node = root
  let member: MemberNode | null = null
  for (const [depth, step] of path.entries()) {
    const found: MemberNode | ValueNode | undefined =
      node.type === 'Object'
        ? memberOf(node, step)
        : node.type === 'Array'
          ? node.elements[step as number]?.value
          : undefined
    if (found === undefined) return { node, member, depth }
    member = found.type === 'Member' ? found : null
    node = found.type === 'Member' ? found.value : found
  }
  return { node, member, depth: path.length }
}

function collectDuplicates(node: ValueNode, path: JsonPath, into: Duplicate[]): void {
  if (node.type === 'Object') {
    for (const duplicate of duplicatesOf(node, path)) into.push(duplicate)
    for (const member of node.members) collectDuplicates(member.value, [...path, nameOf(member)], into)
  } else if (node.type === 'Array') {
    for (const [i, { value }] of node.elements.entries()) collectDuplicates(value, [...path, i], into)
  }
}

function duplicatesOf(node: ObjectNode, path: JsonPath): Duplicate[] {
  const places = new Map<string, Position[]>()
  for (const member of node.members) {
    const name = nameOf(member)
    const place = start(member.name)
    const before = places.get(name)
    if (before === undefined) places.set(name, [place])
    else before.push(place)
  }
  return [...places].flatMap(([name, [first, position, ...others]]) =>
    position === undefined ? [] : [{ path: [...path, name], position, first: first!, more: others.length }],
  )
}

function nameOf(member: MemberNode): string {
  return member.name.type === 'String' ? member.name.value : member.name.name
}

function start(node: { readonly loc: { readonly start: Position } }): Position {
  const { line, column } = node.loc.start
  return { line, column }
}

/** The JSON pointer of a path (RFC 6901, section 3). */
export function jsonPointer(path: JsonPath): string {
  return path.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}
