import type { Socket } from 'node:net'
import { connect, createSecureContext, type SecureContext } from 'node:tls'
import type { SocketDestination } from './socket-options.ts'
import { serverNameOf, type TargetAddress, type TlsOptions, tlsFiles } from './target-address.ts'

/** Opens connections over TLS to one target, which resume one session. */
export interface TargetTls {
  /** To be called before `open`. @throws Node's error where a file has no usable certificate or key */
  prepare(): void
  /** A socket whose event `connect` is followed by `secureConnect` once the certificate was checked. */
  open(to: SocketDestination): Socket
}

export interface TargetTlsOptions {
  readonly address: TargetAddress
  readonly tls: TlsOptions | null
  /** What is offered (RFC 7301). */
  readonly protocols: readonly string[]
}

/** @throws the file system's error where a file cannot be read */
export function createTargetTls({ address, tls, protocols }: TargetTlsOptions): TargetTls {
  const files = tlsFiles(tls)
  const servername = serverNameOf(address, tls)
  let secureContext: SecureContext | undefined
  let session: Buffer | undefined
  return {
    prepare() {
      secureContext ??= createSecureContext(files)
    },
    open(to) {
      const socket = connect({
        ...to,
        secureContext,
        servername,
        // Written out, because NODE_TLS_REJECT_UNAUTHORIZED=0 would else switch the check of the certificate off.
        rejectUnauthorized: true,
        ALPNProtocols: [...protocols],
        session,
      })
      // The name in the certificate is not checked where a session is resumed, so only a session of a connection that
      // was checked is kept. With TLS 1.2 the session is there before the check.
      let unchecked: Buffer | undefined
      socket.on('session', (made) => {
        if (socket.authorized) session = made
        else unchecked = made
      })
      socket.once('secureConnect', () => {
        session = unchecked ?? session
      })
      return socket
    },
  }
}
