import { Deadlines } from '../../core/deadlines.ts'
import type { Scheduler } from '../../core/scheduler.ts'
import { createHeadWriter, type HeadWriter } from '../../http1/head-writer.ts'
import { createWire, type Wire } from '../../http1/wire.ts'
import type { FindAddresses } from '../../names/address.ts'
import { type AddressHistory, createAddressHistory } from './address-history.ts'
import { createEndOfTick, type EndOfTick } from './end-of-tick.ts'

/** What the connections to all targets of a process share. */
export interface Transport {
  /** How names become addresses. */
  readonly findAddresses: FindAddresses
  /** Looks a name up that will be needed. */
  readonly prepareName: (host: string) => void
  readonly addressHistory: AddressHistory
  readonly wire: Wire
  readonly heads: HeadWriter
  readonly deadlines: Deadlines
  readonly endOfTick: EndOfTick
  /** All connections read into it. What is read has to be processed or copied before the next read. */
  readonly readBuffer: Buffer
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

const READ_BYTES = 65_536

/** @throws LlhttpError where the installed llhttp is not the one this code was written for */
export function createTransport(parts: {
  readonly findAddresses: FindAddresses
  /** Absent where names are not to be looked up before they are needed. */
  readonly prepareName?: (host: string) => void
  readonly scheduler: Scheduler
}): Transport {
  return {
    findAddresses: parts.findAddresses,
    prepareName: parts.prepareName ?? (() => {}),
    addressHistory: createAddressHistory(parts.scheduler.now),
    wire: createWire(),
    // None of its heads gets a `Date`.
    heads: createHeadWriter(() => ''),
    deadlines: new Deadlines(parts.scheduler),
    endOfTick: createEndOfTick(),
    readBuffer: Buffer.allocUnsafeSlow(READ_BYTES),
    now: parts.scheduler.now,
  }
}
