/** What is used of undici, in one place: nothing else imports it. */
export { buildConnector, type Dispatcher, Pool } from 'undici'
