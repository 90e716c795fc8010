import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import t from 'tap'
import manifest from '../../package.json' with { type: 'json' }
import { inRepository, readText } from '../support/repository.ts'

const script = inRepository('gateway/dev/trim-packages.mjs')
const platform = `${process.platform}-${process.arch}`

for (const name of [`node-${platform}`, `node-bin-${platform}`]) {
  t.test(`headers and manual pages of the package ${name} go, its program stays`, async (t) => {
    const content = { bin: { node: '' }, include: { node: { 'v8.h': '' } }, share: { man: {} }, LICENSE: '' }
    const cwd = t.testdir({ node_modules: { [name]: content, other: { include: { 'other.h': '' } } } })
    execFileSync(process.execPath, [script], { cwd })
    const left = (path: string) => existsSync(`${cwd}/node_modules/${path}`)
    t.notOk(left(`${name}/include`))
    t.notOk(left(`${name}/share`))
    for (const path of [`${name}/bin/node`, `${name}/LICENSE`, 'other/include/other.h'])
      t.ok(left(path), path)
  })
}

t.test('where the packages are not installed nothing is done', async (t) => {
  const cwd = t.testdir({ 'package.json': '{}' })
  execFileSync(process.execPath, [script], { cwd })
  t.notOk(existsSync(`${cwd}/node_modules`))
})

t.test(
  'in a folder with the manifest alone, as a layer of an image has it, the script is passed over',
  async (t) => {
    const { dependencies } = manifest.scripts
    const cwd = t.testdir({ 'package.json': JSON.stringify({ scripts: { dependencies } }) })
    execFileSync('npm', ['run', 'dependencies'], { cwd, stdio: 'pipe' })
    t.pass()
  },
)

t.test('in a clone npm runs it', async (t) => {
  const { dependencies } = manifest.scripts
  const packages = { [`node-${platform}`]: { include: { 'v8.h': '' } } }
  const cwd = t.testdir({
    'package.json': JSON.stringify({ scripts: { dependencies } }),
    gateway: { dev: { 'trim-packages.mjs': readText('gateway/dev/trim-packages.mjs') } },
    node_modules: packages,
  })
  execFileSync('npm', ['run', 'dependencies'], { cwd, stdio: 'pipe' })
  t.notOk(existsSync(`${cwd}/node_modules/node-${platform}/include`))
})
