/** Where clients reach this process. */
export interface Ports {
  readonly port: number
  /** Null where plain HTTP is not redirected. */
  readonly redirectPort: number | null
}
