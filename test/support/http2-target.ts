import type { Socket } from 'node:net'
import type { Test } from 'tap'
import { type Frame, frame, readFrames } from './http2-frames.ts'
import { startTarget, type TargetKind } from './raw-target.ts'

const PREFACE_BYTES = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'.length

/** One connection of a gateway to a target that writes its frames by hand. */
export interface Http2Peer {
  readonly socket: Socket
  /** Counts from 1 over all connections. */
  readonly nth: number
  send(...frames: Frame[]): void
}

/** A head of an answer: `:status: 200` (RFC 7541, appendix A, index 8). */
export const STATUS_200 = Buffer.from([0x88])

/** A target of HTTP/2 that sends nothing by itself, not even its SETTINGS; it ends with the test. */
export function startHttp2Target(
  t: Test,
  kind: TargetKind,
  onFrame: (peer: Http2Peer, frame: Required<Frame>) => void,
  onConnection: (peer: Http2Peer) => void = () => {},
) {
  return startTarget(t, kind, (socket, nth) => {
    const send = (...frames: Frame[]) => void socket.write(Buffer.concat(frames.map(frame)))
    const peer: Http2Peer = { socket, nth, send }
    let rest = Buffer.alloc(0)
    let prefaced = false
    socket.on('data', (data: Buffer) => {
      rest = Buffer.concat([rest, data])
      if (!prefaced && rest.length >= PREFACE_BYTES) {
        prefaced = true
        rest = rest.subarray(PREFACE_BYTES)
      }
      if (!prefaced) return
      const read = readFrames(rest)
      rest = read.rest
      for (const each of read.frames) onFrame(peer, each)
    })
    onConnection(peer)
  })
}
