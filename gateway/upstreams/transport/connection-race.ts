import type { Socket } from 'node:net'
import type { Deadlines } from '../../core/deadlines.ts'
import type { Address, FindAddresses } from '../../names/address.ts'
import type { AddressHistory } from './address-history.ts'
import { TimeLimit } from './time-limit.ts'

export interface RaceParts {
  readonly hostname: string
  readonly port: number
  /** Begins to connect to an address. */
  readonly open: (host: string) => Socket
  /** Within which there has to be a connection. */
  readonly connectMs: number
  readonly findAddresses: FindAddresses
  readonly history: AddressHistory
  readonly deadlines: Deadlines
  /** Gets the connection that was there first. It has no listeners of the race. */
  readonly onConnected: (socket: Socket) => void
  /** No address takes a connection, or none is known. */
  readonly onFailed: (error: Error) => void
}

/**
 * How long an attempt goes on alone. RFC 8305, section 5, recommends 250 ms for clients that may be anywhere, and 100 ms
 * at least. Targets are near, and a dead address must not cost more than 300 ms with all else that takes time.
 */
const ATTEMPT_DELAY_MS = 200

/**
 * Opens a connection to whichever address of a name takes one first (RFC 8305). Addresses are tried one after the
 * other; an attempt that fails is followed by the next one at once, and one that takes long goes on beside it.
 *
 * Node's own (`autoSelectFamily`) breaks an attempt off when it begins the next one, after 500 ms, so that it fails
 * where a slow address is followed by a dead one. It knows neither addresses that are found later nor those that have
 * failed before.
 */
export class ConnectionRace {
  readonly #parts: RaceParts
  readonly #delay: TimeLimit
  /** Addresses that are not tried yet, in the order in which they will be. */
  #waiting: readonly Address[] = []
  readonly #known = new Set<string>()
  /** Attempts under way, in the order in which they began. */
  readonly #pending = new Map<Socket, Address>()
  readonly #failed: Address[] = []
  readonly #errors: Error[] = []
  #awaitsAddresses = true
  /** The last attempt has failed, or has gone on alone for long enough. */
  #nextIsDue = true
  #over = false

  constructor(parts: RaceParts) {
    this.#parts = parts
    this.#delay = new TimeLimit(parts.deadlines, () => {
      this.#nextIsDue = true
      this.#tryNext()
    })
    parts.findAddresses(parts.hostname).then(
      ({ addresses, later }) => {
        this.#awaitsAddresses = later !== null
        this.#add(addresses)
        later?.then((all) => {
          this.#awaitsAddresses = false
          this.#add(all)
        })
      },
      (error: Error) => {
        this.#awaitsAddresses = false
        this.#errors.push(error)
        this.#tryNext()
      },
    )
  }

  /** Gives up. None of the callbacks is called after that. */
  close(): void {
    if (this.#over) return
    this.#over = true
    this.#delay.close()
    for (const socket of this.#pending.keys()) socket.destroy()
  }

  /** Gives up because of the time. The next connection begins with an address that was not tried. */
  expire(): void {
    if (this.#over) return
    if (this.#waiting.length > 0) this.#recordFailures([...this.#failed, ...this.#pending.values()])
    this.close()
  }

  #add(addresses: readonly Address[]): void {
    const added = addresses.filter(({ address }) => !this.#known.has(address))
    for (const { address } of added) this.#known.add(address)
    const { history, port } = this.#parts
    this.#waiting = history.sort([...this.#waiting, ...added], port)
    this.#tryNext()
  }

  #tryNext(): void {
    if (this.#over) return
    const [next, ...rest] = this.#waiting
    if (next === undefined) {
      if (this.#pending.size === 0 && !this.#awaitsAddresses) this.#fail()
    } else if (this.#nextIsDue) {
      this.#waiting = rest
      this.#attempt(next)
    }
  }

  #attempt(address: Address): void {
    const { open, connectMs } = this.#parts
    const socket = open(address.address)
    this.#pending.set(socket, address)
    const onError = (error: Error) => this.#onError(socket, address, error)
    socket.on('error', onError)
    socket.once('connect', () => {
      socket.off('error', onError)
      this.#onConnected(socket, address)
    })
    this.#nextIsDue = false
    // Where there is little time, the second address gets half of it.
    this.#delay.start(Math.min(ATTEMPT_DELAY_MS, connectMs / 2))
  }

  #onConnected(socket: Socket, address: Address): void {
    if (this.#over) return
    const { history, port, onConnected } = this.#parts
    const attempts = [...this.#pending.keys()]
    const slower = attempts.slice(0, attempts.indexOf(socket)).map((other) => this.#pending.get(other)!)
    this.#recordFailures([...this.#failed, ...slower])
    history.recordSuccess(address, port)
    this.#pending.delete(socket)
    this.close()
    onConnected(socket)
  }

  #onError(socket: Socket, address: Address, error: Error): void {
    if (this.#over) return
    this.#pending.delete(socket)
    this.#failed.push(address)
    this.#errors.push(error)
    this.#nextIsDue = true
    this.#tryNext()
  }

  /** Where all have failed it is the target that is down, and none is better than another. */
  #recordFailures(addresses: readonly Address[]): void {
    const { history, port } = this.#parts
    for (const address of addresses) history.recordFailure(address, port)
  }

  #fail(): void {
    this.close()
    this.#parts.onFailed(joinErrors(this.#errors))
  }
}

/** The errors of all attempts as one. A refusal says more than that there is no route for the other family. */
function joinErrors(errors: readonly Error[]): Error {
  if (errors.length === 1) return errors[0]!
  const message = errors.map((error) => error.message).join('; ')
  const codes = errors.map((error) => (error as NodeJS.ErrnoException).code)
  return Object.assign(new AggregateError(errors, message), {
    code: codes.find((code) => code === 'ECONNREFUSED') ?? codes[0],
  })
}
