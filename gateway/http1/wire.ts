import { Engine } from './engine.ts'
import { createParsers, type Wire } from './parsers.ts'
import { testWire } from './self-test.ts'

export type { Wire } from './parsers.ts'

/**
 * One for a process; it takes some milliseconds, most of them for the self-test.
 *
 * @throws LlhttpError where the installed llhttp does not call, count and refuse as this code expects
 */
export function createWire(): Wire {
  const engine = new Engine()
  const wire = createParsers(engine)
  testWire(wire, engine)
  return wire
}
