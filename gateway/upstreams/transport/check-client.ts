import type { AttemptClient, ClientRequest, ClientResponse, ClientWatcher } from './client-side.ts'

const REQUEST: ClientRequest = {
  method: 'GET',
  complete: true,
  bodyRead: true,
  brokenOff: false,
  readBody: () => () => {},
  pause() {},
  resume() {},
}

/** A client that wants the status of an answer and nothing else: informational answers and the body are passed over. */
export class CheckClient implements AttemptClient, ClientResponse {
  readonly request = REQUEST
  readonly response = this
  readonly record = { requestId: '', bytesIn: 0, bytesOut: 0, eventStream: false }
  readonly isLast = () => false
  watcher: ClientWatcher | null = null
  headersSent = false
  readonly destroyed = false
  readonly writableFinished = false
  readonly carriesTrailers = false
  readonly #onStatus: (status: number) => void

  constructor(onStatus: (status: number) => void) {
    this.#onStatus = onStatus
  }

  /** Ends the attempt. */
  leave(): void {
    this.watcher?.clientClosed()
  }

  writeHead(status: number): void {
    this.headersSent = true
    this.#onStatus(status)
  }

  write(): boolean {
    return true
  }

  flushHeaders(): void {}
  onDrain(): void {}
  end(): void {}
  endConnection(): void {}
  inform(): void {}
  addTrailers(): void {}
  abort(): void {}
}
