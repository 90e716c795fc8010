process.env.ATTACK_TRANSPORT = 'http2'
await import('../hostile-answers.test.ts')
