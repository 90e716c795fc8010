import { createHash } from 'node:crypto'
import { type ErrorCode, statusOf } from '../errors.ts'
import { escapeHtml, type PageTemplate, parseTemplate } from './page-template.ts'
import { PLAIN_WORDS } from './plain-words.ts'

const STYLE = `
:root{color-scheme:light dark;--ground:#f4f5f7;--card:#fff;--text:#1b1f24;--faint:#57606a;--line:#d0d7de;--link:#0b57d0;--on-link:#fff}
@media (prefers-color-scheme:dark){:root{--ground:#0f1216;--card:#191d23;--text:#e8eaed;--faint:#a4adb8;--line:#343b44;--link:#8ab4f8;--on-link:#0f1216}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;background:var(--ground);color:var(--text);font:1rem/1.5 system-ui,sans-serif}
main{width:100%;max-width:34rem;padding:2rem;background:var(--card);border:1px solid var(--line);border-radius:.75rem}
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25;text-wrap:balance}
p{margin:0 0 1.5rem}
a{display:inline-block;padding:.6rem 1.25rem;border-radius:.4rem;background:var(--link);color:var(--on-link);font-weight:600;text-decoration:none}
a:focus-visible{outline:3px solid var(--text);outline-offset:2px}
footer{padding-top:1rem;border-top:1px solid var(--line);color:var(--faint);font-size:.875rem}
footer p{margin:0 0 .5rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:0}
dd{margin:0;font-family:ui-monospace,monospace;overflow-wrap:anywhere}
`

/** Allows the style of the built-in pages and nothing else: no script, no image, no request, no form, no foreign frame. */
export const BUILT_IN_POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'self'",
].join('; ')

/** With these the next try may well succeed. */
const TRY_AGAIN: ReadonlySet<number> = new Set([502, 503, 504])

/** The page for a code, complete in itself: its link leads to the address that it is shown at. */
export function builtInTemplate(code: ErrorCode): PageTemplate {
  const { heading, advice } = PLAIN_WORDS[code]
  const link = TRY_AGAIN.has(statusOf(code)) ? '<p><a href="">Try again</a></p>\n' : ''
  const parsed = parseTemplate(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escapeHtml(heading)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escapeHtml(heading)}</h1>
<p>${escapeHtml(advice)}</p>
${link}<footer>
<p>If you ask for help, pass on these details:</p>
<dl>
<dt>Status</dt><dd>{{status}}</dd>
<dt>Code</dt><dd>{{code}}</dd>
<dt>Request id</dt><dd>{{requestId}}</dd>
</dl>
</footer>
</main>
</body>
</html>
`)
  if (!parsed.ok) throw new TypeError(`the page of ${code} has a bad placeholder`)
  return parsed.template
}
