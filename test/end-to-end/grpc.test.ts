import { once } from 'node:events'
import {
  Client,
  credentials,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  status,
} from '@grpc/grpc-js'
import t from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { type Stage, startStage } from '../support/stage.ts'

const pass = (bytes: Buffer) => bytes
const method = (path: string, requestStream: boolean, responseStream: boolean) => ({
  path,
  requestStream,
  responseStream,
  requestSerialize: pass,
  requestDeserialize: pass,
  responseSerialize: pass,
  responseDeserialize: pass,
})

const SERVICE = {
  unary: method('/test.Echo/Unary', false, false),
  upload: method('/test.Echo/Upload', true, false),
  download: method('/test.Echo/Download', false, true),
  chat: method('/test.Echo/Chat', true, true),
  fail: method('/test.Echo/Fail', false, false),
}

const unary: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
  const user = String(call.metadata.get('x-user-id')[0])
  callback(null, Buffer.from(`${user}: ${call.request}`))
}

const upload: handleClientStreamingCall<Buffer, Buffer> = (call, callback) => {
  let bytes = 0
  call.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  call.on('end', () => callback(null, Buffer.from(String(bytes))))
}

const download: handleServerStreamingCall<Buffer, Buffer> = (call) => {
  for (let n = 0; n < 5; n++) call.write(Buffer.from(String(n)))
  call.end()
}

const chat: handleBidiStreamingCall<Buffer, Buffer> = (call) => {
  call.on('data', (data: Buffer) => call.write(Buffer.from(`${data}!`)))
  call.on('end', () => call.end())
}

const fail: handleUnaryCall<Buffer, Buffer> = (_call, callback) =>
  callback({ code: status.NOT_FOUND, details: 'no such thing' })

let stage: Stage
let client: Client
let metadata: Metadata

t.before(async () => {
  const backend = new Server()
  backend.addService(SERVICE, { unary, upload, download, chat, fail })
  const port = await new Promise<number>((resolve, reject) =>
    backend.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  )
  t.teardown(() => backend.forceShutdown())
  const authority = createAuthority(t, 'the edge authority')
  const { certFile, keyFile } = authority.issue('localhost', ['DNS:localhost', 'IP:127.0.0.1'])
  stage = await startStage({
    upstreams: { grpc: { targets: [`http://127.0.0.1:${port}`], protocol: 'http2' } },
    routes: [{ path: '/test.Echo', upstream: 'grpc' }],
    env: { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile },
  })
  client = new Client(`127.0.0.1:${stage.port}`, credentials.createSsl(authority.cert), {
    'grpc.ssl_target_name_override': 'localhost',
  })
  metadata = new Metadata()
  metadata.set('cookie', stage.cookie)
})
t.teardown(async () => {
  client.close()
  await stage.close()
})

t.test('a unary call carries the identity and gets its answer', async (t) => {
  const answer = await new Promise<Buffer>((resolve, reject) =>
    client.makeUnaryRequest(
      '/test.Echo/Unary',
      pass,
      pass,
      Buffer.from('hello'),
      metadata,
      {},
      (error, value) => (error === null ? resolve(value!) : reject(error)),
    ),
  )
  t.equal(String(answer), 'alice: hello')
})

t.test('an error that consists of trailers keeps its code and message', async (t) => {
  const error = await new Promise<{ code: number; details: string } | null>((resolve) =>
    client.makeUnaryRequest('/test.Echo/Fail', pass, pass, Buffer.from(''), metadata, {}, (failed) =>
      resolve(failed),
    ),
  )
  t.match(error, { code: status.NOT_FOUND, details: 'no such thing' })
})

t.test('a call without a token is UNAUTHENTICATED', async (t) => {
  const error = await new Promise<{ code: number } | null>((resolve) =>
    client.makeUnaryRequest('/test.Echo/Unary', pass, pass, Buffer.from(''), new Metadata(), {}, (failed) =>
      resolve(failed),
    ),
  )
  t.match(error, { code: status.UNAUTHENTICATED })
})

t.test('a stream of the client reaches the backend whole', async (t) => {
  const answer = await new Promise<Buffer>((resolve, reject) => {
    const call = client.makeClientStreamRequest(
      '/test.Echo/Upload',
      pass,
      pass,
      metadata,
      {},
      (error, value) => (error === null ? resolve(value!) : reject(error)),
    )
    for (let n = 0; n < 20; n++) call.write(Buffer.alloc(50_000))
    call.end()
  })
  t.equal(String(answer), '1000000')
})

t.test('a stream of the backend reaches the client in order', async (t) => {
  const call = client.makeServerStreamRequest(
    '/test.Echo/Download',
    pass,
    pass,
    Buffer.from(''),
    metadata,
    {},
  )
  const got: string[] = []
  call.on('data', (data) => got.push(String(data)))
  await once(call, 'end')
  t.same(got, ['0', '1', '2', '3', '4'])
})

t.test('a bidirectional call passes messages of both sides in turns', async (t) => {
  const call = client.makeBidiStreamRequest('/test.Echo/Chat', pass, pass, metadata, {})
  for (const word of ['one', 'two', 'three']) {
    call.write(Buffer.from(word))
    const [answer] = await once(call, 'data')
    t.equal(String(answer), `${word}!`)
  }
  call.end()
  const [ended] = await once(call, 'status')
  t.equal(ended.code, status.OK)
})
