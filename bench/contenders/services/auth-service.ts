import { serveAuth } from './auth-server.ts'
import { createSessionCheck } from './session.ts'

serveAuth(createSessionCheck())
