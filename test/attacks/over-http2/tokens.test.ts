process.env.ATTACK_TRANSPORT = 'http2'
await import('../tokens.test.ts')
