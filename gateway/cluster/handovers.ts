import type { ChildProcess, SendHandle } from 'node:child_process'

/** How Node's cluster hands a connection to a worker; the worker's answer has `ack`, the same number. */
interface Handover {
  readonly cmd: 'NODE_CLUSTER'
  readonly act: 'newconn'
  readonly seq: number
}

/** Turns of the event loop until the messages of a dead worker in its channel have been read. */
const MAX_TURNS = 1000

type Send = ChildProcess['send']

/**
 * A worker that is killed may have been sent a connection that it has not taken. Node's cluster waits for its
 * answer for ever and keeps the connection open, so that its client waits as long. Here another worker gets it, as
 * if it had been the first; with its answer Node's own book is right again. Where Node should change how it hands
 * connections over, nothing is done.
 *
 * @param nextWorker a worker that accepts the connection, or null where there is none
 */
export function watchHandovers(worker: ChildProcess, nextWorker: () => ChildProcess | null): void {
  // The process could not be started.
  if (worker.send === undefined) return
  const sent = new Map<number, { message: Handover; handle: NonNullable<SendHandle> }>()
  const send = worker.send.bind(worker) as (...all: unknown[]) => boolean
  worker.send = ((message: unknown, handle?: SendHandle, ...more: unknown[]) => {
    if (isHandover(message) && handle) sent.set(message.seq, { message, handle })
    return send(message, handle, ...more)
  }) as Send
  worker.on('internalMessage', ({ ack }: { readonly ack?: number }) => {
    if (ack !== undefined) sent.delete(ack)
  })
  let turns = 0
  worker.once('exit', function passOn() {
    // Acknowledgements that it sent before may still be unread.
    if (worker.connected && turns++ < MAX_TURNS) return void setImmediate(passOn)
    for (const { message, handle } of sent.values()) {
      const next = nextWorker()
      if (next !== null) next.send(message, handle, () => {})
      else if ('close' in handle) handle.close()
    }
    sent.clear()
  })
}

function isHandover(message: unknown): message is Handover {
  const { cmd, act, seq } = message as Partial<Handover>
  return cmd === 'NODE_CLUSTER' && act === 'newconn' && typeof seq === 'number'
}
