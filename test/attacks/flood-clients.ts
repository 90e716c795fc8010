import { connect, type Socket } from 'node:net'

/**
 * A process of many clients, since each connection costs a descriptor on both ends: opens `count` connections
 * from an address of its own, says `up` once all are there, keeps them until its input ends, and tells how many
 * the other end has closed. `slow` ones drip a request that never ends.
 */
const [port, count, kind, address] = process.argv.slice(2)
const sockets: Socket[] = []
let closed = 0

for (let n = 0; n < Number(count); n += 200) {
  await Promise.all(Array.from({ length: Math.min(200, Number(count) - n) }, open))
}
process.stdout.write('up\n')

const drip = setInterval(() => {
  if (kind !== 'slow') return
  for (const socket of sockets) if (!socket.destroyed) socket.write('X-A: b\r\n')
}, 500)

process.stdin.resume()
process.stdin.once('end', () => {
  clearInterval(drip)
  for (const socket of sockets) socket.destroy()
  process.stdout.write(`closed ${closed}\n`)
})

function open(): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ port: Number(port), host: '127.0.0.1', localAddress: address! })
    sockets.push(socket)
    socket.on('error', () => resolve())
    socket.on('data', () => {})
    socket.once('close', () => closed++)
    socket.once('connect', () => {
      if (kind === 'slow') socket.write('GET /public HTTP/1.1\r\nHost: app.example.com\r\n')
      else socket.write('GET /public HTTP/1.1\r\nHost: app.example.com\r\n\r\n')
      resolve()
    })
  })
}
