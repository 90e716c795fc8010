process.env.ATTACK_TRANSPORT = 'tls'
await import('../request-smuggling.test.ts')
