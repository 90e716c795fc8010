import { evaluate, type MemberNode, type ObjectNode, parse, type ValueNode } from '@humanwhocodes/momoa'
import { findSyntaxProblem, type SyntaxProblem } from './json-syntax.ts'

/** Names of members and indexes of elements, from the top. */
export type JsonPath = readonly (string | number)[]

/** From 1; columns count UTF-16 units, as editors do. */
export interface Position {
  readonly line: number
  readonly column: number
}

/** Where the parts of a JSON text stand in it. */
export interface SourcePositions {
  /** Of the value at `path`, or of the innermost one around it that exists. */
  ofValue(path: JsonPath): Position
  /** Of the key that ends `path`; of its value where that is an element of an array. */
  ofKey(path: JsonPath): Position
  /** The value at `path` as the text spells it; empty where there is none. */
  textOf(path: JsonPath): string
}

export interface Duplicate {
  readonly path: JsonPath
  /** Of the second key. */
  readonly position: Position
  readonly first: Position
}

export type ParsedJson =
  | {
      readonly kind: 'ok'
      readonly value: unknown
      readonly positions: SourcePositions
      /** Keys that an object has twice, of which RFC 8259, section 4, says that nobody knows which one counts. */
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

/** Finds an object's last member of a name; many problems in a large object must not cost their product. */
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

/** Of a character, by its index in the text. */
export function positionAt(text: string, offset: number): Position {
  const lines = text.slice(0, offset).split(/\r\n|\r|\n/)
  return { line: lines.length, column: lines.at(-1)!.length + 1 }
}

/** RFC 6901, section 3. */
export function jsonPointer(path: JsonPath): string {
  return path.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}
