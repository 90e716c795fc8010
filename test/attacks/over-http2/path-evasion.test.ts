process.env.ATTACK_TRANSPORT = 'http2'
await import('../path-evasion.test.ts')
