process.env.ATTACK_TRANSPORT = 'http2'
await import('../identity-spoofing.test.ts')
