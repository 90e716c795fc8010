import {
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type Metadata,
  Server,
  type ServerCredentials,
} from '@grpc/grpc-js'
import type { Test } from 'tap'

/*
 * The service of gRPC's interoperability tests, by grpc-js. Its messages are bytes in place of protocol buffers, which
 * gRPC carries as they are: a line of JSON that says what to do, and a payload behind it.
 */

export interface Orders {
  /** Sizes of the answers. */
  readonly sizes?: readonly number[]
  readonly status?: { readonly code: number; readonly details: string }
}

export const pass = (bytes: Buffer): Buffer => bytes

const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/grpc.testing.TestService/${name}`,
  requestStream,
  responseStream,
  requestSerialize: pass,
  requestDeserialize: pass,
  responseSerialize: pass,
  responseDeserialize: pass,
})

export const SERVICE = {
  emptyCall: method('EmptyCall', false, false),
  unaryCall: method('UnaryCall', false, false),
  streamingInputCall: method('StreamingInputCall', true, false),
  streamingOutputCall: method('StreamingOutputCall', false, true),
  fullDuplexCall: method('FullDuplexCall', true, true),
}

export function message(orders: Orders, payloadBytes = 0): Buffer {
  return Buffer.concat([Buffer.from(`${JSON.stringify(orders)}\n`), Buffer.alloc(payloadBytes, 'x')])
}

/** @returns what it says, and the length of its payload */
function read(bytes: Buffer): { readonly orders: Orders; readonly payload: number } {
  const end = bytes.indexOf('\n')
  return { orders: JSON.parse(bytes.subarray(0, end).toString()), payload: bytes.length - end - 1 }
}

const INITIAL = 'x-grpc-test-echo-initial'
const TRAILING = 'x-grpc-test-echo-trailing-bin'

interface Call {
  readonly metadata: Metadata
  sendMetadata(metadata: Metadata): void
}

/** Sends the first field back in the head, and the second one in the trailers. */
function echo(call: Call): Metadata {
  const { metadata } = call
  const initial = metadata.clone()
  const trailing = metadata.clone()
  for (const name of Object.keys(metadata.getMap())) {
    if (name !== INITIAL) initial.remove(name)
    if (name !== TRAILING) trailing.remove(name)
  }
  call.sendMetadata(initial)
  return trailing
}

export interface InteropServer {
  readonly port: number
  /** Calls that were cancelled so far. */
  readonly cancelled: () => number
}

/** It ends with the test. */
export async function startInteropServer(t: Test, credentials: ServerCredentials): Promise<InteropServer> {
  let cancelled = 0
  const onCancelled = () => {
    cancelled++
  }
  const emptyCall: handleUnaryCall<Buffer, Buffer> = (_call, callback) => callback(null, Buffer.alloc(0))
  const unaryCall: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
    const { orders } = read(call.request)
    const trailing = echo(call)
    if (orders.status !== undefined) callback(orders.status, null, trailing)
    else callback(null, Buffer.alloc(orders.sizes?.[0] ?? 0), trailing)
  }
  const streamingInputCall: handleClientStreamingCall<Buffer, Buffer> = (call, callback) => {
    let sum = 0
    call.on('cancelled', onCancelled)
    call.on('data', (bytes: Buffer) => {
      sum += read(bytes).payload
    })
    call.on('end', () => callback(null, Buffer.from(String(sum))))
  }
  const streamingOutputCall: handleServerStreamingCall<Buffer, Buffer> = (call) => {
    for (const size of read(call.request).orders.sizes ?? []) call.write(Buffer.alloc(size))
    call.end()
  }
  const fullDuplexCall: handleBidiStreamingCall<Buffer, Buffer> = (call) => {
    const trailing = echo(call)
    call.on('cancelled', onCancelled)
    call.on('data', (bytes: Buffer) => {
      const { orders } = read(bytes)
      if (orders.status !== undefined) call.emit('error', { ...orders.status, metadata: trailing })
      for (const size of orders.sizes ?? []) call.write(Buffer.alloc(size))
    })
    call.on('end', () => call.end(trailing))
  }
  const server = new Server({ 'grpc.max_receive_message_length': -1 })
  server.addService(SERVICE, {
    emptyCall,
    unaryCall,
    streamingInputCall,
    streamingOutputCall,
    fullDuplexCall,
  })
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  )
  t.teardown(() => server.forceShutdown())
  return { port, cancelled: () => cancelled }
}
