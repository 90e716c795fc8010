import { serveAuth } from './auth-server.ts'
import { createBatchedSessionCheck } from './batched-session.ts'

serveAuth(createBatchedSessionCheck())
