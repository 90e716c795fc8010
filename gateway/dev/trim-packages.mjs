// Runs after `npm ci` in a clone (the script "dependencies" of package.json, which passes over a folder that has no such
// file, as a layer of an image): a package of Node brings the headers that its
// program was compiled with and its manual pages, a third of its size, and nothing here compiles an addon. Plain
// JavaScript, because the system's own Node runs it, and for other platforms there is nothing to do.
import { rmSync } from 'node:fs'

const packages = ['node', 'node-bin'].map((name) => `${name}-${process.platform}-${process.arch}`)
for (const name of packages)
  for (const unused of ['include', 'share'])
    rmSync(`node_modules/${name}/${unused}`, { recursive: true, force: true })
