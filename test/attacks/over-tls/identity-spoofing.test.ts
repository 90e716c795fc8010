process.env.ATTACK_TRANSPORT = 'tls'
await import('../identity-spoofing.test.ts')
