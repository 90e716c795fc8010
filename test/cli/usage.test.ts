import t from 'tap'
import { COMMANDS } from '../../gateway/cli/commands.ts'
import { formatHelp, formatOverview } from '../../gateway/cli/help.ts'
import { watchSignals } from '../../gateway/cli/signals.ts'
import { paintFor } from '../../gateway/cli/terminal.ts'
import { runCommand } from '../support/command.ts'

const plain = paintFor({ write: () => {} }, {})

t.test('help COMMAND and COMMAND --help print the same', async (t) => {
  const [byHelp, byOption, short] = await Promise.all([
    runCommand(['help', 'token', 'issue']),
    runCommand(['token', 'issue', '--help']),
    runCommand(['token', 'issue', '-h', '--user', 'a']),
  ])
  t.match(byHelp, { code: 0, stderr: '', stdout: /^poweron-gateway token issue: / })
  t.same([byOption, short], [byHelp, byHelp])
})

t.test('help lists all commands, and the help of each has examples', async (t) => {
  const { stdout } = await runCommand(['help'])
  t.equal(stdout, formatOverview(plain))
  for (const command of COMMANDS) {
    t.match(stdout, `poweron-gateway ${command.name}`)
    const help = formatHelp(command, plain)
    t.ok(command.examples.length > 0, command.name)
    t.match(help, 'Examples:')
    t.match(help, 'Exit codes:')
    for (const { name } of command.options) t.match(help, `--${name}`)
    for (const line of help.split('\n')) t.ok(line.length <= 118, line)
  }
})

t.test('wrong usage exits with 2, and names on stderr alone what was probably meant', async (t) => {
  const cases: readonly [args: string[], said: RegExp][] = [
    [['chekc'], /unknown command "chekc"; did you mean "check"\?/],
    [['token', 'revok'], /did you mean "token revoke"\?/],
    [['token'], /expected token issue, token revoke, token list/],
    [['check', 'a', 'b'], /check: found "b"; expected one FILE/],
    [['help', 'nothing'], /unknown command "nothing"/],
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

t.test('SIGINT twice at once, from the terminal and from the parent process, counts as one', async (t) => {
  let now = 0
  const listeners = new Map<string, () => void>()
  const signals = watchSignals(
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
})

t.test('output has colour on a terminal, and none with NO_COLOR', async (t) => {
  const bold = (isTTY: boolean, env: Record<string, string>) =>
    paintFor({ write: () => {}, isTTY }, env).bold('x')
  t.equal(bold(true, {}), '\x1b[1mx\x1b[0m')
  t.equal(bold(true, { NO_COLOR: '' }), '\x1b[1mx\x1b[0m', 'empty counts as not set (no-color.org)')
  t.equal(bold(true, { NO_COLOR: '1' }), 'x')
  t.equal(bold(true, { TERM: 'dumb' }), 'x')
  t.equal(bold(false, {}), 'x')
})

t.test('--version prints the version of package.json', async (t) => {
  t.match(await runCommand(['--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: '' })
})
