import type { TokenRow } from '../../gateway/auth/token-store/token-table.ts'

/** A row of the README's token table, as it is read. */
export function tokenRow(id: string, status = 'ACTIVE', more: Partial<TokenRow> = {}): TokenRow {
  return {
    id,
    userId: 'u',
    sessionId: 's',
    mandateId: null,
    status,
    active: status === 'ACTIVE',
    expired: false,
    expiresAt: null,
    types: { userId: 'text', sessionId: 'text', mandateId: 'text' },
    ...more,
  }
}
