import type { PeerTrust } from '../http/forwarded.ts'
import { type AccessLog, createAccessLog } from '../pipeline/access-log.ts'
import type { Settings } from '../settings/values.ts'
import type { LineWriter } from '../telemetry/logging/line-writer.ts'
import type { Logger } from '../telemetry/logging/logger.ts'

export interface AccessLogSources {
  readonly settings: Pick<Settings, 'accessLog'>
  readonly log: Logger
  readonly lines: Pick<LineWriter, 'write'>
}

/** @returns null where no exchange gets a line */
export function accessLogOf({ settings, log, lines }: AccessLogSources, peers: PeerTrust): AccessLog | null {
  const { accessLog } = settings
  if (accessLog === 'off' || !log.isLevelEnabled('info')) return null
  return createAccessLog({ lines, peers, wallClock: Date.now, probes: accessLog === 'all' })
}
