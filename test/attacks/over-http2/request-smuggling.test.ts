process.env.ATTACK_TRANSPORT = 'http2'
await import('../request-smuggling.test.ts')
