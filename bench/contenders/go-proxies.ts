import { SECRET } from '../database.ts'
import { buildGoProxy } from '../go.ts'
import { findFreePort, startProcess } from '../processes.ts'
import { type Contender, groupProcesses, waitForAnswer } from './contender.ts'

interface Kind {
  readonly authenticates: boolean
  readonly tuned: boolean
}

function createGoContender(name: string, title: string, { authenticates, tuned }: Kind): Contender {
  return {
    name,
    title,
    authenticates,
    needs: 'go',
    async start({ folder, databaseUrl, backendPort }) {
      const port = await findFreePort()
      const running = await startProcess({
        command: await buildGoProxy(folder),
        args: [String(port)],
        env: {
          AUTH: authenticates ? 'yes' : 'no',
          TUNED: tuned ? 'yes' : 'no',
          BACKEND_PORT: String(backendPort),
          DATABASE_URL: databaseUrl,
          JWT_SECRET: SECRET,
        },
      })
      await waitForAnswer(port)
      return groupProcesses(port, [running])
    },
  }
}

export const goReverseProxy = createGoContender('go-reverse-proxy', 'Go ReverseProxy alone', {
  authenticates: false,
  tuned: false,
})
export const goReverseProxyAuth = createGoContender(
  'go-reverse-proxy-auth',
  'Go ReverseProxy + golang-jwt + pgx',
  { authenticates: true, tuned: false },
)
export const goReverseProxyAuthTuned = createGoContender(
  'go-reverse-proxy-auth-tuned',
  'Go ReverseProxy + golang-jwt + pgx, tuned',
  { authenticates: true, tuned: true },
)
