process.env.ATTACK_TRANSPORT = 'http2'
await import('../refusals.test.ts')
