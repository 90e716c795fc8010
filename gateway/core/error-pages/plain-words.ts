import type { ErrorCode } from '../errors.ts'

/** What a person reads who has met an error: what happened, and what to do. */
export interface PlainWords {
  readonly heading: string
  readonly advice: string
}

const LOGIN = 'Log in, and open this page again.'
const CHECK_ADDRESS = 'Check the address for mistakes, or begin at the home page.'
const WAIT = 'Wait a moment, and try again.'

const NO_ANSWER: PlainWords = {
  heading: 'This page is not available at the moment',
  advice: `The server behind it does not answer. ${WAIT}`,
}

/** By code. No word of how the gateway works, since whoever reads this has never heard of it. */
export const PLAIN_WORDS: Readonly<Record<ErrorCode, PlainWords>> = {
  bad_request: {
    heading: 'This request cannot be understood',
    advice: `The address, or what your browser sent with it, is not well formed. ${CHECK_ADDRESS}`,
  },
  credentials_missing: { heading: 'You are not logged in', advice: LOGIN },
  credentials_ambiguous: {
    heading: 'Please log in again',
    advice: 'Your browser sent two different logins at once. Delete the cookies of this site, and log in.',
  },
  token_invalid: { heading: 'Please log in again', advice: `Your login is not valid. ${LOGIN}` },
  token_expired: { heading: 'Please log in again', advice: `Your login has expired. ${LOGIN}` },
  token_unknown: { heading: 'Please log in again', advice: `Your login is not known here. ${LOGIN}` },
  token_revoked: { heading: 'You were logged out', advice: LOGIN },
  token_mismatch: { heading: 'Please log in again', advice: `Your login is not valid. ${LOGIN}` },
  mandate_forbidden: {
    heading: 'You may not open this page',
    advice:
      'You are logged in, but your organisation has no access to it. If it should, ask whoever manages it.',
  },
  origin_forbidden: {
    heading: 'This was stopped to protect you',
    advice:
      'Another website tried to send this in your name. If you meant to do it, open this site and do it there.',
  },
  route_not_found: { heading: 'There is no such page', advice: CHECK_ADDRESS },
  method_not_allowed: {
    heading: 'This cannot be done here',
    advice: 'The page exists, but not for what your browser asked of it. Go back, and try another way.',
  },
  request_timeout: {
    heading: 'Sending took too long',
    advice:
      'What your browser sent did not arrive in time. Check your connection, go back, and send it again.',
  },
  body_too_large: {
    heading: 'This is too large',
    advice: 'What you sent is larger than is allowed here. Go back, and send less.',
  },
  expectation_failed: {
    heading: 'This request cannot be understood',
    advice: 'Your browser asked for something that is not offered here.',
  },
  headers_too_large: {
    heading: 'Your browser sent too much',
    advice: 'Mostly these are too many cookies. Delete the cookies of this site, and log in again.',
  },
  upstream_unreachable: NO_ANSWER,
  upstream_reset: {
    heading: 'This page is not available at the moment',
    advice: `The server behind it broke off its answer. ${WAIT}`,
  },
  upstream_invalid: {
    heading: 'This page is not available at the moment',
    advice: `The server behind it gave no usable answer. ${WAIT}`,
  },
  token_store_unavailable: {
    heading: 'Your login cannot be checked at the moment',
    advice: `You have not been logged out. ${WAIT}`,
  },
  overloaded: { heading: 'There is too much to do at the moment', advice: WAIT },
  upstream_unavailable: NO_ANSWER,
  upstream_overloaded: { heading: 'There is too much to do at the moment', advice: WAIT },
  draining: { heading: 'This site is being restarted', advice: WAIT },
  upstream_timeout: {
    heading: 'The answer takes too long',
    advice: `The server behind this page did not answer in time. ${WAIT}`,
  },
}
