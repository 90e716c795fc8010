import t from 'tap'
import { request, startStage } from '../support/stage.ts'

const stage = await startStage({
  upstream: { maxConnections: 1 },
  routes: [
    {
      path: '/without',
      auth: 'none',
      requestHeaders: { remove: ['Authorization'] },
      responseHeaders: { remove: ['WWW-Authenticate'] },
    },
  ],
})
t.teardown(() => stage.close())

/** A backend that takes whoever has logged its connection in for the user, as IIS does with NTLM. */
const logins = new WeakMap<object, string>()
stage.upstream.respond((request, socket) => {
  const login = request.header('authorization')
  if (login !== null && /^(?:ntlm|negotiate)(?: |$)/i.test(login)) logins.set(socket, login)
  const user = logins.get(socket) ?? 'nobody'
  const offer = request.target.includes('offer') ? 'WWW-Authenticate: Basic, NTLM\r\n' : ''
  socket.write(`HTTP/1.1 200 OK\r\n${offer}Content-Length: ${user.length}\r\n\r\n${user}`)
})

/** Who the backend takes the client for. */
async function userOf(path: string, fields: readonly string[] = []): Promise<string> {
  const { responses } = await stage.ask(request(`GET ${path}`, [...fields, 'Connection: close']))
  return responses[0]!.body.toString()
}

const connections = () => stage.upstream.connections.length

for (const login of ['NTLM TlRMTVNTUAAD', 'Negotiate YIIB', 'negotiate YIIB', 'NTLM']) {
  t.test(`attack: another client gets no answer of the user who logged in by ${login}`, async (t) => {
    t.equal(await userOf('/a', [`Authorization: ${login}`]), login)
    t.equal(await userOf('/b'), 'nobody')
  })
}

for (const login of ['Bearer x', 'Basic bnRsbTpuZWdvdGlhdGU=', 'Digest username="ntlm"', 'NTLMv9 x']) {
  t.test(
    `a connection is kept behind a request with ${login}, which logs in that request alone`,
    async (t) => {
      await userOf('/a', [`Authorization: ${login}`])
      const before = connections()
      await userOf('/b')
      t.equal(connections(), before)
    },
  )
}

t.test('a connection on which a login is offered is not kept', async (t) => {
  await userOf('/offer')
  const before = connections()
  await userOf('/b')
  t.equal(connections(), before + 1)
})

t.test('a route without Authorization and WWW-Authenticate lets nobody log in', async (t) => {
  t.equal(await userOf('/without/a', ['Authorization: NTLM TlRMTVNTUAAD']), 'nobody')
  const { responses } = await stage.ask(request('GET /without/offer', ['Connection: close']))
  t.equal(responses[0]!.header('www-authenticate'), null)
})
