#!/usr/bin/env node
// The command as installed: runs the gateway on the Node that came with the packages where the system's own is
// older than what the gateway needs. Plain JavaScript, because an older Node has to be able to read it.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))
const needed = 26

if (Number(process.versions.node.split('.')[0]) >= needed) {
  await import(main)
} else {
  const node = fileURLToPath(new URL('../node_modules/.bin/node', import.meta.url))
  if (!existsSync(node)) {
    process.stderr.write(
      `poweron-gateway needs Node ${needed} or later; this is ${process.versions.node}, and "npm ci" has not put one beside the packages.\n`,
    )
    process.exit(2)
  }
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' })
  // A service manager signals the process that it started, which is this one. Ctrl-C reaches both processes; cli/signals.ts counts it once.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1)
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  })
}
