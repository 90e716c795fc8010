export const STREAM_KINDS = ['websocket', 'sse', 'other'] as const
export const CLOSE_REASONS = ['revoked', 'expired', 'fault', 'drain'] as const

export type StreamKind = (typeof STREAM_KINDS)[number]
export type CloseReason = (typeof CLOSE_REASONS)[number]
