import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'

/** The status page, whole, and the policy under which a browser shows it. */
export interface StatusPage {
  readonly html: string
  readonly contentSecurityPolicy: string
}

const SCRIPTS = [
  'format.js',
  'elements.js',
  'decisions.js',
  'scale.js',
  'plots.js',
  'minutes.js',
  'sections.js',
  'page.js',
]

const STYLES = ['base.css', 'heads.css', 'plots.css', 'tables.css', 'narrow.css']

const IMPORT = /^import [^;]*? from '\.\/[\w-]+\.js'\n/gm
const EXPORT = /^export (?=const|function|async function)/gm

/**
 * Reads the parts of the page once, and joins them to one file, so that the page needs no further request. The policy
 * names the script and the styles by their hashes, and allows nothing else. With Trusted Types a browser refuses to
 * turn text into markup.
 */
export function loadStatusPage(): StatusPage {
  const read = (name: string) => readFileSync(new URL(`./status-page/${name}`, import.meta.url), 'utf8')
  const style = STYLES.map(read).join('')
  const script = SCRIPTS.map((name) => read(name).replace(IMPORT, '').replace(EXPORT, '')).join('')
  const html = read('index.html')
    .replace('<!-- styles -->', () => `<style>${style}</style>`)
    .replace('<!-- script -->', () => `<script type="module">${script}</script>`)
  return {
    html,
    contentSecurityPolicy: [
      "default-src 'none'",
      `script-src '${hash(script)}'`,
      `style-src '${hash(style)}'`,
      "connect-src 'self'",
      'img-src data:',
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "require-trusted-types-for 'script'",
      "trusted-types 'none'",
    ].join('; '),
  }
}

function hash(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}
