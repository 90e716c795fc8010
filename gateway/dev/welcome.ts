/** An installed package has no npm scripts, and is compiled. */
const TOKEN_COMMAND = import.meta.url.endsWith('.ts') ? 'npm run --silent token --' : 'poweron-gateway token'

/** What a first start prints: what to try, and what one then sees. */
export function welcomeText(options: {
  readonly port: number
  readonly jwt: string
  readonly tokenId: string
  readonly cookie: string
}): string {
  const { port, jwt, tokenId, cookie } = options
  return `
The gateway runs in front of a small echo backend. Try, in another terminal:

  1. A request with a good cookie. The backend shows X-User-Id and X-Mandate-Id as the gateway set them:

     curl -s -b '${cookie}=${jwt}' http://127.0.0.1:${port}/hello

  2. Revoke the token:

     ${TOKEN_COMMAND} revoke --id ${tokenId}

  3. The request of step 1 again: 401, "code":"token_revoked", at once.

Without a cookie http://127.0.0.1:${port}/hello is 401, and http://127.0.0.1:${port}/public is open to all.
Ctrl-C stops everything. The README tells how to put the gateway before your own backend.

`
}
