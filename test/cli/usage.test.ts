import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import t from 'tap'
import { COMMANDS } from '../../gateway/cli/commands.ts'
import { completion } from '../../gateway/cli/completion.ts'
import { helpOn, overview } from '../../gateway/cli/help.ts'
import { hearSignals } from '../../gateway/cli/signals.ts'
import { paintFor } from '../../gateway/cli/terminal.ts'
import { runCommand, runHere } from '../support/command.ts'

const plain = paintFor({ write: () => {} }, {})

t.test('help on a command is the same by help COMMAND and COMMAND --help', async (t) => {
  const [byHelp, byOption, short] = await Promise.all([
    runCommand(['help', 'token', 'issue']),
    runCommand(['token', 'issue', '--help']),
    runCommand(['token', 'issue', '-h', '--user', 'a']),
  ])
  t.match(byHelp, { code: 0, stderr: '', stdout: /^poweron-gateway token issue: / })
  t.same([byOption, short], [byHelp, byHelp])
})

t.test('help has them all, and each teaches by example', async (t) => {
  const { stdout } = await runCommand(['help'])
  t.equal(stdout, overview(plain))
  for (const command of COMMANDS) {
    t.match(stdout, `poweron-gateway ${command.name}`)
    const help = helpOn(command, plain)
    t.ok(command.examples.length > 0, command.name)
    t.match(help, 'Examples:')
    t.match(help, 'Exit codes:')
    for (const { name } of command.options) t.match(help, `--${name}`)
    for (const line of help.split('\n')) t.ok(line.length <= 118, line)
  }
})

t.test('wrong usage is 2, on stderr alone, with what was most likely meant', async (t) => {
  const cases: readonly [args: string[], said: RegExp][] = [
    [['chekc'], /"chekc" is no command; did you mean "check"\?/],
    [['token', 'revok'], /did you mean "token revoke"\?/],
    [['token'], /expected token issue, token revoke, token list/],
    [['check', 'a', 'b'], /check: found "b"; expected one FILE/],
    [['completion', 'fish'], /bash or zsh/],
    [['help', 'nothing'], /"nothing" is no command/],
    [['--frobnicate'], /unknown option --frobnicate/],
    [['serve', '--port', '1'], /serve: unknown option --port/],
  ]
  const runs = await Promise.all(cases.map(([args]) => runCommand(args)))
  for (const [i, [args, said]] of cases.entries()) {
    t.match(runs[i], { code: 2, stdout: '' }, args.join(' '))
    t.match(runs[i]?.stderr, said)
    t.match(runs[i]?.stderr, /\n\nUsage:\n {2}poweron-gateway /)
  }
})

t.test(
  'Ctrl-C that reaches a process twice, from its terminal and from who started it, is one',
  async (t) => {
    let now = 0
    const listeners = new Map<string, () => void>()
    const signals = hearSignals(
      (name, listener) => listeners.set(name, listener),
      () => now,
    )
    let second = false
    void signals.second.then(() => {
      second = true
    })
    listeners.get('SIGINT')!()
    listeners.get('SIGINT')!()
    await signals.first
    t.equal(second, false)
    now = 100
    listeners.get('SIGINT')!()
    await signals.second
  },
)

t.test('colour is for terminals, and not where NO_COLOR is set', async (t) => {
  const bold = (isTTY: boolean, env: Record<string, string>) =>
    paintFor({ write: () => {}, isTTY }, env).bold('x')
  t.equal(bold(true, {}), '\x1b[1mx\x1b[0m')
  t.equal(bold(true, { NO_COLOR: '' }), '\x1b[1mx\x1b[0m', 'empty counts as not set (no-color.org)')
  t.equal(bold(true, { NO_COLOR: '1' }), 'x')
  t.equal(bold(true, { TERM: 'dumb' }), 'x')
  t.equal(bold(false, {}), 'x')
})

async function script(shell: string): Promise<string> {
  const { code, stdout } = await runHere('completion', completion, [shell])
  t.equal(code, 0)
  return stdout
}

/** What bash offers for the last word. */
function bashOffers(source: string, words: readonly string[], cwd: string): string[] {
  const quoted = words.map((word) => `'${word}'`).join(' ')
  const run = `${source}\nCOMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; _poweron_gateway; printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', run], { cwd, encoding: 'utf8' })
  t.equal(stderr, '')
  return stdout.split('\n').filter((line) => line !== '')
}

t.test('bash completes commands, options, values and files', async (t) => {
  const source = await script('bash')
  const cwd = t.testdir({ 'upstreams.json': '', 'other.json': '' })
  const offers = (...words: string[]) => bashOffers(source, ['poweron-gateway', ...words], cwd)
  t.same(offers('ch'), ['check'])
  t.same(offers('t'), ['token'])
  t.same(offers('token', ''), ['issue', 'revoke', 'list'])
  t.same(offers('token', 'issue', '--'), ['--user', '--mandate', '--session', '--ttl', '--refresh', '--help'])
  t.same(offers('token', 'issue', '--user', ''), [])
  t.same(offers('explain', '--method', 'P'), ['POST', 'PUT', 'PATCH'])
  t.same(offers('check', 'up'), ['upstreams.json'])
  t.same(offers('completion', ''), ['--help', 'bash', 'zsh'])
  t.same(offers('help', 'ex'), ['explain'])
})

t.test('zsh takes the script, and completes by it', async (t) => {
  const source = await script('zsh')
  for (const { name } of COMMANDS) t.match(source, `'${name}') _arguments`)
  const zsh = ['/usr/bin/zsh', '/bin/zsh'].find(existsSync)
  if (zsh === undefined) {
    t.comment('zsh is not installed: that it takes the script was not tried')
    return
  }
  const { status, stderr } = spawnSync(zsh, ['-f', '-n'], { input: source, encoding: 'utf8' })
  t.same([status, stderr], [0, ''])
  const run = `autoload -Uz compinit; compinit -D -u; ${source}\nprint -- $_comps[poweron-gateway]`
  t.equal(spawnSync(zsh, ['-f', '-c', run], { encoding: 'utf8' }).stdout.trim(), '_poweron_gateway')
})

t.test('--version is the package version', async (t) => {
  t.match(await runCommand(['--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: '' })
})
