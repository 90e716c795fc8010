process.env.ATTACK_TRANSPORT = 'tls'
await import('../path-evasion.test.ts')
