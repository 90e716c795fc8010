import type { SecureVersion } from 'node:tls'

/** One server of a connection URL. */
export interface DatabaseHost {
  readonly host: string
  readonly port: number
}

/** `sslmode` as libpq names it; `prefer` and `require` encrypt, and trust any server. */
export type SslMode = 'disable' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'

/** How connections are encrypted. */
export interface DatabaseTls {
  readonly mode: SslMode
  /** True where TLS begins with the first byte, without an SSLRequest before it (`sslnegotiation=direct`). */
  readonly direct: boolean
  /** Whether the server's name is sent in the clear (`sslsni`). */
  readonly sendsName: boolean
  readonly minVersion: SecureVersion | null
  readonly maxVersion: SecureVersion | null
}

/** The parts of a connection URL. */
export interface DatabaseAddress {
  /** In the order in which they are tried. */
  readonly hosts: readonly DatabaseHost[]
  readonly user: string | undefined
  readonly password: string | undefined
  readonly database: string | undefined
  readonly tls: DatabaseTls
  /** The name that the server shows for the connections, where the URL names one. */
  readonly applicationName: string | null
  /** Milliseconds until a connection has to be ready; null where the URL does not set it. */
  readonly connectTimeoutMs: number | null
  /** False where the URL says that a pooler cannot keep prepared statements. */
  readonly prepare: boolean
  /** The schema of the token table, where the URL names one and TOKEN_TABLE does not (Prisma's `schema`). */
  readonly schema: string | null
  /** Settings of the session, sent to the server at the start of a connection. */
  readonly parameters: Readonly<Record<string, string>>
  /** What is wrong with the URL's parameters: each one's name, and what to write instead. */
  readonly problems: readonly string[]
}
