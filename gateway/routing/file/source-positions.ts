import { evaluate, type MemberNode, type ObjectNode, parse, type ValueNode } from '@humanwhocodes/momoa'
import { findSyntaxProblem, type SyntaxProblem } from './json-syntax.ts'

/** Names of members and indexes of elements, from the outermost to the innermost. */
export type JsonPath = readonly (string | number)[]

/** Counted from 1. Columns count UTF-16 code units, as editors do. */
export interface Position {
  readonly line: number
  readonly column: number
}

/** The positions of keys and values in a JSON text. */
export interface SourcePositions {
  /** The position of the value at `path`; where there is none, that of the innermost value around it that exists. */
  ofValue(path: JsonPath): Position
  /** The position of the last key in `path`; for an element of an array, that of its value. */
  ofKey(path: JsonPath): Position
  /** The text of the value at `path`; empty where there is none. */
  textOf(path: JsonPath): string
}

export interface Duplicate {
  readonly path: JsonPath
  /** The position of the second key. */
  readonly position: Position
  readonly first: Position
}

export type ParsedJson =
  | {
      readonly kind: 'ok'
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
  return { kind: 'ok', value: evaluate(body), positions: createPositions(text, body), duplicates }
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
  const seen = new Map<string, MemberNode>()
  return node.members.flatMap((member) => {
    const name = nameOf(member)
    const first = seen.get(name)
    if (first === undefined) seen.set(name, member)
    return first === undefined
      ? []
      : [{ path: [...path, name], position: start(member.name), first: start(first.name) }]
  })
}

function nameOf(member: MemberNode): string {
  return member.name.type === 'String' ? member.name.value : member.name.name
}

function start(node: { readonly loc: { readonly start: Position } }): Position {
  const { line, column } = node.loc.start
  return { line, column }
}

/** The position of the character at an index in the text. */
export function positionAt(text: string, offset: number): Position {
  const lines = text.slice(0, offset).split(/\r\n|\r|\n/)
  return { line: lines.length, column: lines.at(-1)!.length + 1 }
}

/** The JSON pointer of a path (RFC 6901, section 3). */
export function jsonPointer(path: JsonPath): string {
  return path.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}
