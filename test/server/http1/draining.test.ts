import t from 'tap'
import { answerTarget, GET, pause, startStage, TRANSPORTS, until } from './stage.ts'

for (const transport of TRANSPORTS) {
  t.test(
    `${transport}: closeIdle ends connections with nothing under way, in order, and no others`,
    async (t) => {
      const stage = await startStage(t, {
        transport,
        handle: (handed) => void (handed.request.target === '/' && answerTarget(handed)),
      })
      const [idle, half, busy, streaming] = [
        await stage.connect(),
        await stage.connect(),
        await stage.connect(),
        await stage.connect(),
      ]
      idle.write(GET)
      await idle.sees('\r\n\r\n/')
      half.write(GET + GET.slice(0, 10))
      await half.sees('\r\n\r\n/')
      busy.write(GET.replace('/', '/busy'))
      streaming.write(GET.replace('/', '/streaming'))
      await until(() => stage.handed.length === 4)
      const of = (target: string) => stage.handed.find(({ request }) => request.target === target)!
      of('/streaming').response.writeHead(200, 'OK', [])
      of('/streaming').response.flushHeaders()
      stage.closeIdle()
      await idle.ended
      t.equal(idle.end, 'end')
      await pause(30)
      half.write(GET.slice(10))
      await half.sees('\r\n\r\n/')
      answerTarget(of('/busy'))
      await busy.sees('/busy')
      of('/streaming').response.end()
      await streaming.sees('0\r\n\r\n')
      t.same([half.end, busy.end, streaming.end], [null, null, null])
      stage.closeIdle()
      await Promise.all([half.ended, busy.ended, streaming.ended])
    },
  )

  t.test(`${transport}: closeAll ends everything`, async (t) => {
    const stage = await startStage(t, { transport })
    const clients = [await stage.connect(), await stage.connect()]
    clients[0]!.write(GET)
    await until(() => stage.handed.length === 1)
    stage.closeAll()
    await Promise.all(clients.map(({ ended }) => ended))
    await until(() => stage.handed[0]!.closed)
  })
}

t.test('a connection that has not sent its first byte yet is given a moment to', async (t) => {
  const stage = await startStage(t, { handle: answerTarget })
  const [late, silent] = [await stage.connect(), await stage.connect()]
  stage.closeIdle()
  await pause(100)
  late.write(GET)
  await late.sees('200 OK')
  t.equal(silent.end, null)
  await pause(1000)
  stage.closeIdle()
  await silent.ended
  t.equal(silent.text, '')
})
