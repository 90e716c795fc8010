#!/usr/bin/env node
// The command as installed: runs the gateway with the flags that it needs, and on the Node that came with the packages
// where the one that runs this is too old. Plain JavaScript, because an older Node has to be able to read it.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const NEEDED = [22, 18]
// V8 would else shrink the young generation in every pause of the load (docs/operating.md).
const FLAGS = ['--min-semi-space-size=16', '--max-semi-space-size=16']
const PACKAGES = [`node-${process.platform}-${process.arch}`, `node-bin-${process.platform}-${process.arch}`]
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP']

const source = new URL('./main.ts', import.meta.url)
// A package holds the program compiled: Node strips no types below node_modules.
const main = fileURLToPath(existsSync(source) ? source : new URL('../dist/main.js', import.meta.url))
const args = [...FLAGS, main, ...process.argv.slice(2)]

const node = isNewEnough() ? process.execPath : bundledNode()
if (node === null) {
  process.stderr.write(
    `poweron-gateway needs Node ${NEEDED.join('.')} or later; this is ${process.versions.node}, and no newer one was installed beside it (it is an optional dependency).\n`,
  )
  process.exit(2)
}
// The flags matter to the gateway alone, and another command is sooner done without a second start.
if (node === process.execPath && process.argv.length > 2 && process.argv[2] !== 'serve') await import(main)
// In place of this process, so that signals and the exit code are the gateway's own. Windows has no such call.
else if (process.execve !== undefined && process.platform !== 'win32')
  process.execve(node, [node, ...args], process.env)
else runAsChild(node)

function isNewEnough() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  return major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1])
}

/** The program of the platform's package; null where it was not installed. */
function bundledNode() {
  const require = createRequire(import.meta.url)
  for (const name of PACKAGES) {
    try {
      const { bin } = require(`${name}/package.json`)
      return require.resolve(`${name}/${typeof bin === 'string' ? bin : bin.node}`)
    } catch {}
  }
  return null
}

function runAsChild(command) {
  const child = spawn(command, args, { stdio: 'inherit' })
  // A service manager signals the process that it started, which is this one. Ctrl-C reaches both; cli/signals.ts counts it once.
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1)
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  })
}
