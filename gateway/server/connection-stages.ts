import type { Socket } from 'node:net'

export type ConnectionHandler = (socket: Socket) => void

/** One step of a new connection: handles it, and hands it to `next`, now, later, or never. */
export type ConnectionStage = (next: ConnectionHandler) => ConnectionHandler

/** @param stages in the order in which a connection runs through them; `last` serves it */
export function chainStages(stages: readonly ConnectionStage[], last: ConnectionHandler): ConnectionHandler {
  return stages.reduceRight((next, stage) => stage(next), last)
}
